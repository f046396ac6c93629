"""Kernel, stride and padding attributes of convolutions and pools, resolved to explicit numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nibble.graph.lower.context import LeaveToHostError

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A two-dimensional sliding window; `pads` is (top, left, bottom, right)."""

    kernel: Pair
    strides: Pair
    pads: tuple[int, int, int, int]
    dilations: Pair


def resolve(attrs: dict[str, Any], kernel: Pair, size: Pair, out: Pair) -> Window:
    """Return the window that maps `size` (H, W) to `out`: auto_pad and ceil_mode become pads."""
    strides = _pair(attrs.get("strides", (1, 1)))
    dilations = _pair(attrs.get("dilations", (1, 1)))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    needed = [(o - 1) * s + span - i for o, s, span, i in zip(out, strides, spans, size, strict=True)]
    top, left, bottom, right = _declared(attrs, needed)
    pads = (top, left, max(bottom, needed[0] - top), max(right, needed[1] - left))
    for axis in range(2):
        if (size[axis] + pads[axis] + pads[axis + 2] - spans[axis]) // strides[axis] + 1 != out[axis]:
            raise LeaveToHostError("its window does not give the output's size")
    return Window(kernel, strides, pads, dilations)


def _declared(attrs: dict[str, Any], needed: list[int]) -> tuple[int, int, int, int]:
    mode = attrs.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        top, left, bottom, right = attrs.get("pads", (0, 0, 0, 0))
        return int(top), int(left), int(bottom), int(right)
    if mode == "VALID":
        return 0, 0, 0, 0
    total = [max(n, 0) for n in needed]
    first = [(n + 1) // 2 if mode == "SAME_LOWER" else n // 2 for n in total]
    return first[0], first[1], total[0] - first[0], total[1] - first[1]


def _pair(values: Any) -> Pair:
    return int(values[0]), int(values[1])
