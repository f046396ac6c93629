"""The DPU's RTL: its files (hw/rtl), and the parameters of its top for a hardware size."""

from __future__ import annotations

from pathlib import Path

from nibble.config import DpuConfig
from nibble.paths import HW

TOP, CLOCK = "dpu_top", "ap_clk"
FOLDER = HW / "rtl"
_PACKAGES = ("isa_pkg", "dpu_pkg")
"""The packages that others use come first."""
_SIZES = (
    *("inputs", "outputs", "dsp_outputs", "feature_bytes", "weight_bytes", "parameter_entries"),
    *("table_count", "accumulators", "output_bytes", "requantize_lanes", "vector_lanes", "bus_bytes", "queue_depth"),
    "ultra_ram",
)


def parameters(dpu: DpuConfig, packed: bool) -> tuple[tuple[str, int], ...]:
    """Return the parameters of dpu_top for a hardware size; `packed`: two INT8 products in a DSP."""
    sizes = [("".join(part.title() for part in key.split("_")), int(getattr(dpu, key))) for key in _SIZES]
    return (*sizes, ("ParameterHash", dpu.hash), ("Packed", int(packed)))


def sources() -> tuple[Path, ...]:
    """Return the files of the core, packages first."""
    first = [FOLDER / f"{name}.sv" for name in _PACKAGES]
    packages = [path for path in sorted(FOLDER.glob("*_pkg.sv")) if path not in first]
    return (*first, *packages, *(path for path in sorted(FOLDER.glob("*.sv")) if not path.name.endswith("_pkg.sv")))
