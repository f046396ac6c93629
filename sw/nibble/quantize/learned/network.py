"""A prepared float graph in PyTorch, so that gradients flow through it: its operators, as onnxruntime computes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from nibble.errors import UnsupportedError
from nibble.quantize.hessian import Geometry
from nibble.quantize.plan import quantizable

Attributes = dict[str, Any]
Inputs = Sequence[Any]
"""What a node reads: tensors, None where an input is left out."""
Convolve = Callable[[onnx.NodeProto, Tensor], Tensor]
Rounded = Callable[[str, Tensor], Tensor]

ACTIVATIONS: dict[str, Callable[[Inputs, Attributes], Tensor]] = {
    "LeakyRelu": lambda x, a: functional.leaky_relu(x[0], a.get("alpha", 0.01)),
    "Relu": lambda x, a: functional.relu(x[0]),
    "Clip": lambda x, a: torch.clip(*[*x, None, None][:3]),
    "HardSwish": lambda x, a: functional.hardswish(x[0]),
    "Mish": lambda x, a: functional.mish(x[0]),
}
_ONE_OUTPUT = ACTIVATIONS | {
    "Sigmoid": lambda x, a: torch.sigmoid(x[0]),
    "HardSigmoid": lambda x, a: (a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5)).clip(0, 1),
    "Tanh": lambda x, a: torch.tanh(x[0]),
    "Add": lambda x, a: x[0] + x[1],
    "Sub": lambda x, a: x[0] - x[1],
    "Mul": lambda x, a: x[0] * x[1],
    "Div": lambda x, a: x[0] / x[1],
    "MatMul": lambda x, a: x[0] @ x[1],
    "Concat": lambda x, a: torch.cat(x, a["axis"]),
    "MaxPool": lambda x, a: _max_pool(x[0], a),
    "Resize": lambda x, a: _resize(x, a),
    "Softmax": lambda x, a: torch.softmax(x[0], a.get("axis", -1)),
    "Transpose": lambda x, a: x[0].permute(a.get("perm", tuple(range(x[0].dim()))[::-1])),
    "Reshape": lambda x, a: x[0].reshape(_shape(x[0], x[1].tolist(), a.get("allowzero", 0))),
}
_SETTINGS = {"Split": (1,), "Reshape": (1,), "Resize": (1, 2, 3), "Clip": (1, 2)}
"""Inputs that must be constants."""
_RESIZES: dict[tuple[str, str, str], Attributes] = {
    ("nearest", "asymmetric", "floor"): {"mode": "nearest"},
    ("nearest", "half_pixel", "round_prefer_ceil"): {"mode": "nearest-exact"},
    ("linear", "half_pixel", ""): {"mode": "bilinear", "align_corners": False},
    ("linear", "pytorch_half_pixel", ""): {"mode": "bilinear", "align_corners": False},
    ("linear", "align_corners", ""): {"mode": "bilinear", "align_corners": True},
}
"""By mode, coordinates and, for nearest, rounding: the arguments of torch's `interpolate`."""


class Network:
    """A prepared `graph` whose tensors are PyTorch's; raises UnsupportedError naming `where` and a node it has not."""

    def __init__(self, graph: onnx.GraphProto, where: Path) -> None:
        self.where = where
        self.nodes = list(graph.node)
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.constants = {name: torch.from_numpy(numpy_helper.to_array(t).copy()) for name, t in self.stored.items()}
        (self.input,) = (value.name for value in graph.input if value.name not in self.stored)
        self.outputs = [value.name for value in graph.output]
        self.attributes = {node.name: _attributes(node) for node in self.nodes}
        for node in self.nodes:
            self._check(node)

    @property
    def has_fixed_size(self) -> bool:
        """Whether it runs at its own size, one picture at a time only: some node knows sizes as numbers."""
        return any(self._knows_sizes(node) for node in self.nodes)

    def activations(self) -> list[str]:
        """Return the outputs of the activation functions, SiLU (a Mul by a Sigmoid) among them."""
        gates = {node.output[0] for node in self.nodes if node.op_type == "Sigmoid"}
        return [
            node.output[0]
            for node in self.nodes
            if node.op_type in ACTIVATIONS or (node.op_type == "Mul" and gates.intersection(node.input))
        ]

    def before_activations(self) -> set[str]:
        """Return what activation functions alone read."""
        readers: dict[str, list[str]] = {}
        for node in self.nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node.op_type)
        outside = {*self.outputs, *self.constants}
        return {name for name, types in readers.items() if ACTIVATIONS.keys() >= set(types)} - outside

    def run(
        self,
        x: Tensor,
        keep: Sequence[str] = (),
        convolve: Convolve | None = None,
        rounded: Rounded | None = None,
        skipped: Collection[str] = (),
    ) -> dict[str, Tensor]:
        """Return the outputs and the tensors of `keep` for inputs `x` [N, 3, H, W].

        `convolve` computes what a Conv does, `rounded` sees every tensor by name; nodes named in `skipped` do nothing.
        """
        left = Counter(name for node in self.nodes for name in node.input)
        left.update([*self.outputs, *keep])
        live = {self.input: rounded(self.input, x) if rounded else x}
        for node in self.nodes:
            read = [self.constants[name] if name in self.constants else live.get(name) for name in node.input]
            found = read[:1] if node.name in skipped else self._step(node, read, convolve or self.convolve)
            for name, value in zip(node.output, found, strict=True):
                live[name] = rounded(name, value) if rounded else value
            left.subtract(node.input)
            for name in node.input:
                if not left[name]:
                    live.pop(name, None)
        return {name: live[name] for name in (*self.outputs, *keep)}

    def convolve(self, node: onnx.NodeProto, x: Tensor) -> Tensor:
        """Return what a Conv of the float network does."""
        bias = self.constants[node.input[2]] if len(node.input) > 2 and node.input[2] else None
        return self.convolve_with(node, x, self.constants[node.input[1]], bias)

    def convolve_with(self, node: onnx.NodeProto, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return what a Conv would do with another `weight` and `bias`."""
        geometry = Geometry.of(node, self.stored[node.input[1]])
        x, pads = _padded(x, geometry, 0.0)
        return functional.conv2d(x, weight, bias, geometry.strides, pads, geometry.dilations, geometry.groups)

    def _step(self, node: onnx.NodeProto, read: Inputs, convolve: Convolve) -> Sequence[Tensor]:
        try:
            if node.op_type == "Conv":
                return [convolve(node, read[0])]
            if node.op_type == "Split":
                return _split(read, self.attributes[node.name], len(node.output))
            return [_ONE_OUTPUT[node.op_type](read, self.attributes[node.name])]
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._refusal(node, f" ({str(error).strip().splitlines()[0]})") from error

    def _check(self, node: onnx.NodeProto) -> None:
        attributes = self.attributes[node.name]
        if node.domain not in ("", "ai.onnx") or node.op_type not in (*_ONE_OUTPUT, "Conv", "Split"):
            raise self._refusal(node)
        if len(node.output) > 1 and node.op_type != "Split":
            raise self._refusal(node, f" with {len(node.output)} outputs")
        settings = [node.input[index] for index in _SETTINGS.get(node.op_type, ()) if index < len(node.input)]
        if any(name and name not in self.constants for name in settings):
            raise self._refusal(node, " whose settings are no constants")
        if node.op_type == "Conv" and not quantizable(node, self.stored):
            raise self._refusal(node, " without constant weights [M, C, kh, kw]")
        if node.op_type == "MaxPool" and (attributes.get("ceil_mode") or len(attributes["kernel_shape"]) != 2):
            raise self._refusal(node, " with ceil_mode, or not of two dimensions")
        if node.op_type == "Resize" and _resize_arguments(attributes) is None:
            raise self._refusal(node, " of this mode")

    def _knows_sizes(self, node: onnx.NodeProto) -> bool:
        if node.op_type in ("Conv", "Clip"):
            return False
        if node.op_type == "Split":
            return bool(self.attributes[node.name].get("axis", 0) != 1)
        if node.op_type == "Resize":
            return len(node.input) > 3
        constants = [self.constants[name] for name in node.input if name in self.constants]
        return node.op_type == "Reshape" or any(each.shape[-2:].numel() > 1 for each in constants)

    def _refusal(self, node: onnx.NodeProto, detail: str = "") -> UnsupportedError:
        return UnsupportedError(self.where, f"{node.op_type} {node.name!r}{detail} with weights.rounding: learned")


def _attributes(node: onnx.NodeProto) -> Attributes:
    found = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def _padded(x: Tensor, geometry: Geometry, fill: float) -> tuple[Tensor, tuple[int, int]]:
    """Return `x` padded as `geometry` says, and the padding still to be done: what both sides have in common."""
    top, left, bottom, right = geometry.padding(tuple(x.shape[2:]))
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom), value=fill), (0, 0)


def _max_pool(x: Tensor, attributes: Attributes) -> Tensor:
    geometry = Geometry(
        tuple(attributes["kernel_shape"]),
        tuple(attributes.get("strides", (1, 1))),
        tuple(attributes.get("dilations", (1, 1))),
        1,
        tuple(attributes.get("pads", (0, 0, 0, 0))),
        attributes.get("auto_pad", "NOTSET"),
    )
    x, pads = _padded(x, geometry, -torch.inf)
    return functional.max_pool2d(x, geometry.kernel, geometry.strides, pads, geometry.dilations)


def _resize(read: Inputs, attributes: Attributes) -> Tensor:
    scales, sizes = ([*read, None, None][index] for index in (2, 3))
    if scales is not None and len(scales):
        size = [int(length * scale) for length, scale in zip(read[0].shape, scales.tolist(), strict=True)]
    else:
        size = sizes.tolist()
    return functional.interpolate(read[0], size[2:], **(_resize_arguments(attributes) or {}))


def _resize_arguments(attributes: Attributes) -> dict[str, Any] | None:
    """Return what `interpolate` needs to do as a Resize, None where it cannot."""
    mode = attributes.get("mode", "nearest")
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    nearest = attributes.get("nearest_mode", "round_prefer_floor") if mode == "nearest" else ""
    plain = attributes.get("keep_aspect_ratio_policy", "stretch") == "stretch" and "axes" not in attributes
    return _RESIZES.get((mode, coordinates, nearest)) if plain and not attributes.get("antialias") else None


def _split(read: Inputs, attributes: Attributes, parts: int) -> Sequence[Tensor]:
    axis = attributes.get("axis", 0)
    sizes = read[1].tolist() if len(read) > 1 and read[1] is not None else -(-read[0].shape[axis] // parts)
    found: Sequence[Tensor] = torch.split(read[0], sizes, axis)
    return found


def _shape(x: Tensor, shape: list[int], allow_zero: int) -> list[int]:
    return shape if allow_zero else [size or x.shape[index] for index, size in enumerate(shape)]
