"""Where the cycles of a program go, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nibble.errors import NibbleError
from nibble.files import atomic_path
from nibble.simulate.measure import MeasuredLayer

PARTS = {
    "cycles_mac": ("array at work", "tab:green"),
    "cycles_wait_features": ("waits for features", "tab:orange"),
    "cycles_wait_weights": ("waits for weights", "tab:red"),
    "cycles_wait_store": ("waits for stores", "tab:purple"),
    "cycles_other": ("results, pools, additions, start", "tab:gray"),
}


def draw_layers(layers: Sequence[MeasuredLayer], title: str, target: Path) -> None:
    """Draw the parts of each layer, and its prediction, to `target` (PNG). Raises NibbleError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NibbleError("--plot needs matplotlib: pip install 'nibble-dpu[report]'") from error
    figure = Figure(figsize=(10, 1.5 + 0.22 * len(layers)), layout="constrained")
    axes = figure.subplots()
    places = range(len(layers))
    left = [0] * len(layers)
    for part, (label, colour) in PARTS.items():
        widths = [getattr(layer, part) for layer in layers]
        axes.barh(places, widths, left=left, label=label, color=colour)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    predicted = [layer.layer.predicted_cycles for layer in layers]
    axes.plot(predicted, places, "k|", markersize=9, label="predicted")
    axes.set_yticks(places, [layer.layer.name for layer in layers])
    axes.invert_yaxis()
    axes.set(title=title, xlabel="cycles")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
