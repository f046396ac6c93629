"""Which channels of a network may be scaled, and which of them only together.

What a convolution writes may be divided by a positive factor per channel if all who read it multiply it back: past
LeakyReLU, ReLU and operators that move channels whole, that is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from nibble.quantize.plan import quantizable

KEEPING = ("LeakyRelu", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize")
"""Operators that treat channels alike, and scale with them."""
Classes = npt.NDArray[np.int64]


def group_count(node: onnx.NodeProto) -> int:
    """Return the groups of a convolution."""
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


class Channels:
    """Classes of channels with one common factor: `of[tensor]` has each channel's; class 0 has factor 1 always."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.convolutions = [node for node in graph.node if quantizable(node, self.constants)]
        self._parent = [0]
        self._members: dict[str, list[int]] = {}
        own = {node.name for node in self.convolutions}
        for node in graph.node:
            found = self._new(node) if node.name in own else self._passed(node)
            if found is None:
                self._fix(name for name in node.input)
            else:
                self._members.update(zip(node.output, found, strict=False))
        self._fix(output.name for output in graph.output)
        roots = {0: 0}
        self.of = {
            name: np.array([roots.setdefault(self._root(each), len(roots)) for each in members], np.int64)
            for name, members in self._members.items()
        }
        self.count = len(roots)

    def classes(self, tensor: str, channels: int) -> Classes:
        """Return the class of each of the `channels` of a tensor."""
        return self.of.get(tensor, np.zeros(channels, np.int64))

    def _new(self, node: onnx.NodeProto) -> list[list[int]]:
        """Return classes of their own for what a convolution writes; one with groups that mix channels fixes them."""
        dims = self.constants[node.input[1]].dims
        if group_count(node) > 1 and dims[1] > 1:
            self._fix([node.input[0]])
        first = len(self._parent)
        self._parent.extend(range(first, first + dims[0]))
        return [list(range(first, first + dims[0]))]

    def _passed(self, node: onnx.NodeProto) -> list[list[int]] | None:
        """Return the classes of what an operator passes on; None where it does not."""
        data = [name for name in node.input if name and name not in self.constants]
        if not data or any(name not in self._members for name in data) or node.domain not in ("", "ai.onnx"):
            return None
        given = [self._members[name] for name in data]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Concat" and attributes["axis"] == 1:
            return [[each for members in given for each in members]]
        if node.op_type == "Split" and attributes.get("axis", 0) == 1:
            return self._split(node, given[0])
        if node.op_type == "Add" and len(given) == 2 and len(given[0]) == len(given[1]):
            for first, second in zip(*given, strict=True):
                self._tie(first, second)
            return given[:1]
        crops = attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
        keeps = node.op_type in KEEPING and len(data) == 1 and len(node.output) == 1 and not crops
        return given if keeps else None

    def _split(self, node: onnx.NodeProto, given: list[int]) -> list[list[int]] | None:
        count = len(node.output)
        sizes: Sequence[int] = [len(given) // count] * count
        if len(node.input) > 1:
            if node.input[1] not in self.constants:
                return None
            sizes = numpy_helper.to_array(self.constants[node.input[1]]).tolist()
        ends = np.cumsum(sizes).tolist()
        return (
            [given[end - size : end] for size, end in zip(sizes, ends, strict=True)] if ends[-1] == len(given) else None
        )

    def _fix(self, names: Iterable[str]) -> None:
        for name in names:
            for each in self._members.get(name, ()):
                self._tie(0, each)

    def _tie(self, first: int, second: int) -> None:
        low, high = sorted((self._root(first), self._root(second)))
        self._parent[high] = low

    def _root(self, each: int) -> int:
        while (above := self._parent[each]) != each:
            self._parent[each] = self._parent[above]
            each = above
        return each
