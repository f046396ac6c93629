"""The model as the lowering rules see it: producers, constants, tensor types, and sub-models to run by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from nibble import ort
from nibble.graph.ir import Tensor

Array = npt.NDArray[Any]
INT4_TYPES = (TensorProto.INT4, TensorProto.UINT4)


class LeaveToHostError(Exception):
    """A rule declines a node; the text is the reason shown to the user."""


class Context:
    """Read-only view of a prepared model (see `prepare`) and of its tensors' types."""

    def __init__(self, model: onnx.ModelProto, types: dict[str, Tensor]) -> None:
        self.model = model
        self.types = types
        self.nodes = list(model.graph.node)
        self._folded: dict[str, Array] = {}

    @cached_property
    def producers(self) -> dict[str, int]:
        """Index of the node that writes each tensor."""
        return {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def initializers(self) -> dict[str, onnx.TensorProto]:
        """Initializers by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def constant_names(self) -> set[str]:
        """Tensors that depend on no graph input."""
        known = set(self.initializers)
        for node in self.nodes:
            if not node_inputs(node) - known:
                known.update(node.output)
        return known

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Return the node that writes `name`, None for inputs and initializers."""
        index = self.producers.get(name)
        return None if index is None else self.nodes[index]

    def constant(self, name: str, what: str) -> Array:
        """Return the value of a constant tensor (folded by onnxruntime); declines when it depends on the input."""
        if name not in self.constant_names:
            raise LeaveToHostError(f"{what} is not constant")
        if name not in self._folded:
            self._folded[name] = self._fold(name)
        return self._folded[name]

    def scalar(self, name: str, what: str) -> Array:
        """Return a constant of one element as a 0-d array; declines when it has more."""
        value = self.constant(name, what)
        if value.size != 1:
            raise LeaveToHostError(f"{what} has {value.size} values, not one")
        return value.reshape(())

    def codes(self, name: str) -> Tensor:
        """Return the type of a tensor of 8-bit codes of shape (1, C, H, W); declines any other."""
        tensor = self.types[name]
        if tensor.dtype not in ("uint8", "int8"):
            raise LeaveToHostError(f"{name} is {tensor.dtype}, not 8-bit codes")
        return self.feature_map(name)

    def feature_map(self, name: str) -> Tensor:
        """Return the type of a (1, C, H, W) tensor that is not constant; else declines."""
        tensor = self.types[name]
        if name in self.constant_names:
            raise LeaveToHostError(f"{name} is constant")
        if len(tensor.shape) != 4 or tensor.shape[0] != 1 or not all(tensor.shape):
            raise LeaveToHostError(f"{name} has shape {tensor.shape}, not (1, C, H, W)")
        return tensor

    def weight_bits(self, name: str) -> int:
        """Return 4 when the weights come from an INT4 or UINT4 initializer through Casts, else 8."""
        node = self.producer(name)
        while node is not None and node.op_type == "Cast":
            name = node.input[0]
            node = self.producer(name)
        return 4 if name in self.initializers and self.initializers[name].data_type in INT4_TYPES else 8

    def submodel(self, nodes: Iterable[int], inputs: Sequence[Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
        """Return a model of the given nodes (by index) from `inputs` to `outputs`, with the constants they need."""
        chosen = self._with_constants(sorted(set(nodes)), {tensor.name for tensor in inputs})
        picked = [self.nodes[index] for index in chosen]
        used = {name for node in picked for name in node_inputs(node)} - {tensor.name for tensor in inputs}
        graph = helper.make_graph(
            picked,
            "part",
            [value_info(tensor) for tensor in inputs],
            [value_info(self.types[name]) for name in outputs],
            [self.initializers[name] for name in sorted(used) if name in self.initializers],
        )
        given = {"functions": self.model.functions, "opset_imports": self.model.opset_import}
        return helper.make_model(graph, ir_version=self.model.ir_version, **given)

    def _with_constants(self, chosen: list[int], given: set[str]) -> list[int]:
        todo, kept = list(chosen), set(chosen)
        while todo:
            for name in node_inputs(self.nodes[todo.pop()]) - given:
                index = self.producers.get(name)
                if index is not None and index not in kept and name in self.constant_names:
                    kept.add(index)
                    todo.append(index)
        return sorted(kept)

    def _fold(self, name: str) -> Array:
        if name in self.initializers:
            return widened(numpy_helper.to_array(self.initializers[name]))
        model = self.submodel([self.producers[name]], [], [name])
        return np.asarray(ort.run(ort.session(model), {})[name])


def widened(value: Array) -> Array:
    """Return 4-bit arrays as 8-bit ones, any other as it is."""
    kinds = {"int4": np.int8, "uint4": np.uint8}
    return value.astype(kinds[value.dtype.name]) if value.dtype.name in kinds else value


def node_inputs(node: onnx.NodeProto) -> set[str]:
    """Return the tensors a node reads, those its sub-graphs capture included."""
    return {name for name in node.input if name} | set(_captured(node))


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    for graph in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
        own = {value.name for value in [*graph.input, *graph.initializer]}
        own.update(name for inner in graph.node for name in inner.output)
        yield from (name for inner in graph.node for name in node_inputs(inner) if name not in own)


def value_info(tensor: Tensor) -> onnx.ValueInfoProto:
    """Return the ONNX declaration of a tensor."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, kind, tensor.shape)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name, bytes decoded."""
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in values.items()}


def code_range(dtype: str) -> tuple[int, int]:
    """Return the lowest and highest code of an 8-bit dtype."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)
