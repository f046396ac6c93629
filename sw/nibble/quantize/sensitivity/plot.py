"""The effects of all convolutions and the Pareto fronts of the schemes, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nibble.errors import NibbleError
from nibble.files import atomic_path
from nibble.quantize.sensitivity.effects import Effect
from nibble.quantize.sensitivity.schemes import Scheme
from nibble.quantize.sensitivity.widths import show

LEAST = 1e-8
"""What a damage of nothing is drawn as."""


def figure_class() -> Any:
    """Return matplotlib's Figure; raises NibbleError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NibbleError("--plot needs matplotlib: pip install 'nibble-dpu[report]'") from error
    return Figure


def draw(effects: Sequence[Effect], schemes: Sequence[Scheme], target: Path) -> None:
    """Draw the damage of each convolution, and schemes over cycles and bytes, to `target` (PNG).

    Raises NibbleError without matplotlib.
    """
    names = list(dict.fromkeys(effect.name for effect in effects))
    costs = [cost for cost in ("predicted_cycles", "bytes") if all(getattr(one, cost) for one in schemes)]
    size = (7 + 6 * len(costs), max(5.0, 1.5 + 0.18 * len(names)))
    figure = figure_class()(figsize=size, layout="constrained")
    axes = figure.subplots(1, 1 + len(costs), squeeze=False)[0]
    _effects(axes[0], effects, names)
    for cost, each in zip(costs, axes[1:], strict=True):
        _front(each, schemes, cost)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _effects(axes: Any, effects: Sequence[Effect], names: Sequence[str]) -> None:
    for bits in dict.fromkeys(effect.bits for effect in effects):
        rows = [effect for effect in effects if effect.bits == bits]
        damages = [max(row.damage, LEAST) for row in rows]
        axes.plot(damages, [names.index(row.name) for row in rows], "o", ms=4, label=show(bits))
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set(title="one convolution at low bits (weights/activations)", xlabel="damage")
    axes.grid(alpha=0.3)
    axes.legend()


def _front(axes: Any, schemes: Sequence[Scheme], cost: str) -> None:
    """Draw AP where it is known, the damage otherwise; the line joins what no other scheme beats."""
    measured = all(scheme.predicted_ap is not None for scheme in schemes)
    points = sorted(((getattr(one, cost), _height(one, measured), one) for one in schemes), key=lambda point: point[:2])
    best: list[tuple[float, float]] = []
    for x, y, _ in points:
        if not best or (y > best[-1][1] if measured else y < best[-1][1]):
            best.append((x, y))
    axes.step(*zip(*best, strict=True), where="post", color="tab:gray", lw=1)
    for x, y, scheme in points:
        axes.plot(x, y, "o", color="tab:green" if scheme.ap is not None else "tab:blue", ms=5)
        axes.annotate(scheme.name, (x, y), fontsize=7, xytext=(4, 3), textcoords="offset points")
    label = "AP (green: measured, blue: predicted)" if measured else "damage, all convolutions together"
    axes.set(title="schemes", xlabel=cost.replace("_", " "), ylabel=label)
    axes.grid(alpha=0.3)


def _height(scheme: Scheme, measured: bool) -> float:
    if not measured:
        return scheme.damage
    return scheme.ap if scheme.ap is not None else scheme.predicted_ap or 0.0
