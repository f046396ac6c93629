#!/usr/bin/env bash
# Runs a command with the settings of the mounted Vivado, the folder in VIVADO.
set -eo pipefail
source "$VIVADO/settings64.sh"
exec "$@"
