"""The one door to FINN+: opens it without Vivado, and says in one line what is missing.

FINN+ keeps its settings in a global and asks for Vivado's simulator at import: both are dealt with here, nowhere else.
"""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nibble.errors import NibbleError
from nibble.targets.finn.mend import mended_library

VERSION = "1.6.1"
LAYERS = "finn.custom_op.fpgadataflow"
"""Domain of the layers before they are specialized to RTL or HLS."""


def open_finn(folder: Path) -> None:
    """Make FINN+ ready to use; the code that it generates goes to `folder`. May be called again for another folder.

    Raises NibbleError when FINN+ is not installed or of another version than was tested.
    """
    check_installed()
    logging.getLogger("finn_logger").setLevel(logging.ERROR)
    import finn.util.settings as settings
    import finn.xsi
    from finn.interface.settings import FINNSettings

    finn.xsi.SimEngine = object
    folder.mkdir(parents=True, exist_ok=True)
    opened = FINNSettings.init(
        override_settings_path=folder / "no-settings.yaml",
        flow_config=folder.resolve() / "flow.yaml",
        auto_set_environment_vars=False,
        finn_build_dir=str(folder.resolve()),
    )
    opened.finn_rtllib = str(mended_library(Path(opened.finn_rtllib), folder.resolve()))
    settings._SETTINGS = opened


def check_installed() -> None:
    """Raise NibbleError when FINN+ is not installed or of another version than was tested."""
    try:
        found = version("finn-plus")
    except PackageNotFoundError:
        raise NibbleError(
            "the FINN target needs FINN+, which is not installed: pip install --no-deps -r requirements-finn.txt"
        ) from None
    if found != VERSION:
        raise NibbleError(f"the FINN target needs FINN+ {VERSION}, found {found}: install requirements-finn.txt")
