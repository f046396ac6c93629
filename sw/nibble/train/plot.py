"""The curves of a training run as a picture."""

from __future__ import annotations

from pathlib import Path

from nibble.files import atomic_path
from nibble.train.recipe import Recipe


def draw_curves(history: list[dict[str, float]], recipe: Recipe, target: Path) -> None:
    """Draw the loss of every epoch and the AP of every validation to `target` (PNG)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, precision = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for key in ("loss", "box", "objectness", "class"):
        losses.plot(epochs, [row[key] for row in history], label=key)
    validated = [row for row in history if "ap50" in row]
    for key, label in (("ap50", "AP50"), ("ap", "AP")):
        precision.plot([row["epoch"] for row in validated], [row[key] for row in validated], "o-", label=label)
    losses.set(title=f"{recipe.name}: training loss", xlabel="epoch", yscale="log")
    precision.set(title="validation split", xlabel="epoch", ylim=(0, None))
    for axes in (losses, precision):
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
