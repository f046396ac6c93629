#!/usr/bin/env bash
# Runs a command as the calling user in the image, with this checkout and a Vivado mounted at their own paths.
# docker/run.sh /tools/Xilinx/Vivado/2022.2 nibble build build_configs/builds/lpyolo-4w4a-pynq-z2.yaml
set -euo pipefail

if (($# < 2)) || [[ ! -f $1/settings64.sh ]]; then
    echo "usage: $0 VIVADO_FOLDER COMMAND...; VIVADO_FOLDER holds settings64.sh, as /tools/Xilinx/Vivado/2022.2 does" >&2
    exit 2
fi
vivado=$(realpath "$1")
shift
checkout=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
here=$(pwd -P)

mounts=(--volume "$checkout:$checkout" --volume "$(realpath "$vivado/../.."):$(realpath "$vivado/../.."):ro")
[[ $here/ == "$checkout"/* ]] || mounts+=(--volume "$here:$here")

exec docker run --rm --init "${mounts[@]}" \
    --volume /etc/passwd:/etc/passwd:ro --volume /etc/group:/etc/group:ro --user "$(id -u):$(id -g)" \
    --env HOME=/tmp --env VIVADO="$vivado" --env PYTHONPATH="$checkout/sw" --env XILINXD_LICENSE_FILE \
    --workdir "$here" nibble-vivado "$@"
