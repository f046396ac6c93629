"""Cross-layer equalization (arXiv 1906.04721): factors move from what a convolution writes to those that read it.

Every channel that may be scaled is divided by a factor where it is written and multiplied by it where it is read, so
the network computes the same; only rounding to codes errs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from nibble.errors import InputError
from nibble.quantize.assign import FOUR_BIT_LEVELS, four_bit_groups
from nibble.quantize.balance import Extent, Layer, Span, Values, least_error
from nibble.quantize.calibrate import activations
from nibble.quantize.channels import Channels, group_count
from nibble.quantize.layers import FLOAT_BITS, LayerBits
from nibble.quantize.pictures import Inputs
from nibble.quantize.plan import Plan, make_plan
from nibble.quantize.ranges import LEVELS
from nibble.quantize.recipe import IntegerRecipe
from nibble.quantize.solve import float_bias
from nibble.quantize.weights import LIMITS

_DAMPING = 0.01
_PERCENTILE = 99.95
_TINY = 1e-12


def equalize(
    model: onnx.ModelProto, bits: Mapping[str, LayerBits], recipe: IntegerRecipe, inputs: Inputs, where: Path
) -> onnx.ModelProto:
    """Return a prepared `model` that computes the same with weights that lose less at their `bits`.

    The model itself where no channel may be scaled. Raises InputError naming `where` when the model does not run on
    `inputs`.
    """
    channels = Channels(model.graph)
    if channels.count == 1:
        return model
    builder = _Builder(model, channels, bits, recipe)
    builder.extents = measure(model, builder.tensors(), inputs, where)
    return scaled(model, channels, np.exp(least_error(builder.layers(), builder.spans(), channels.count)))


def scaled(model: onnx.ModelProto, channels: Channels, factors: Values) -> onnx.ModelProto:
    """Return `model` with its channels divided by the `factors` of their classes: weights and biases change alone."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    own = {node.name for node in channels.convolutions}
    for node in changed.graph.node:
        if node.name not in own:
            continue
        weight = numpy_helper.to_array(channels.constants[node.input[1]])
        groups = group_count(node)
        reads = factors[channels.classes(node.input[0], weight.shape[1] * groups)].reshape(groups, 1, -1)
        writes = factors[channels.classes(node.output[0], len(weight))].reshape(groups, -1, 1)
        ratio = (reads / writes).reshape(len(weight), -1)
        values = [weight * ratio[:, :, None, None], float_bias(node, channels.constants) / writes.reshape(-1)]
        names = [f"{node.name}_weight_equalized", f"{node.name}_bias_equalized"]
        node.input[:] = [node.input[0], *names]
        changed.graph.initializer.extend(
            numpy_helper.from_array(value.astype(np.float32), name) for value, name in zip(values, names, strict=True)
        )
    _drop_unused(changed.graph)
    return changed


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


class _Builder:
    """What the objective needs of a graph; `extents` come between."""

    def __init__(
        self, model: onnx.ModelProto, channels: Channels, bits: Mapping[str, LayerBits], recipe: IntegerRecipe
    ) -> None:
        self.channels, self.bits, self.recipe = channels, bits, recipe
        self.extents: Mapping[str, Extent] = {}
        floats = [name for name, each in bits.items() if each.weight_bits == FLOAT_BITS]
        self.convolutions = [
            node for node in channels.convolutions if node.name not in floats and group_count(node) == 1
        ]
        self.plan = make_plan(model.graph, recipe.share_concat_scales, floats) if recipe.activations else Plan()
        self.narrow = four_bit_groups(self.plan, model.graph, bits)

    def tensors(self) -> list[str]:
        """Return the tensors whose extents count, with a channel to scale or without."""
        read = dict.fromkeys(node.input[0] for node in self.convolutions)
        groups = {self.plan.group(name) for name in read if name in self.plan.codes}
        sharing = [name for name in self.plan.sources if self.plan.group(name) in groups]
        return list(read | dict.fromkeys(sharing))

    def layers(self) -> list[Layer]:
        """Return the convolutions that are quantized."""
        return [layer for node in self.convolutions if (layer := self._layer(node)).energy > 0]

    def _layer(self, node: onnx.NodeProto) -> Layer:
        weight = numpy_helper.to_array(self.channels.constants[node.input[1]]).astype(np.float64)
        outputs, inputs, height, width = weight.shape
        source = node.input[0]
        return Layer(
            peaks=np.abs(weight).max(axis=(2, 3)),
            gain=(weight**2).sum(axis=(0, 2, 3)),
            taps=height * width,
            extent=self.extents[source],
            reads=self.channels.classes(source, inputs),
            writes=self.channels.classes(node.output[0], outputs),
            largest_code=LIMITS[self.bits[node.name].weight_bits][1],
            shares_scale=self.recipe.weights.granularity == "per-tensor",
            source=self.plan.group(source) if source in self.plan.codes else None,
        )

    def spans(self) -> dict[str, Span]:
        """Return the groups of tensors that share a scale, by the name of the group."""
        members: dict[str, list[str]] = {}
        for name in self.extents if self.recipe.activations else ():
            members.setdefault(self.plan.group(name), []).append(name)
        return {group: self._span(group, names) for group, names in members.items()}

    def _span(self, group: str, names: Sequence[str]) -> Span:
        largest = [self.extents[name].largest for name in names]
        classes = [self.channels.classes(name, len(each)) for name, each in zip(names, largest, strict=True)]
        levels = FOUR_BIT_LEVELS if group in self.narrow else LEVELS
        return Span(np.concatenate(classes), np.concatenate(largest), levels)


class _Moments:
    """The channels' second moments, and the largest of the pictures' percentiles of magnitude."""

    def __init__(self) -> None:
        self.largest: Values = np.zeros(0)
        self.product: Values = np.zeros(0)
        self.count = 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        flat = values[0].reshape(values.shape[1], -1)
        largest = np.percentile(np.abs(flat), _PERCENTILE, axis=1, method="inverted_cdf").astype(np.float64)
        product = (flat @ flat.T).astype(np.float64)
        self.largest = np.maximum(self.largest, largest) if self.count else largest
        self.product = self.product + product if self.count else product
        self.count += flat.shape[1]

    def extent(self) -> Extent:
        """Return what was seen."""
        product = self.product / self.count
        damped = product + (_DAMPING * product.diagonal().mean() + _TINY) * np.eye(len(product))
        return Extent(self.largest, product.diagonal().copy(), 1 / np.linalg.inv(damped).diagonal())


def measure(model: onnx.ModelProto, tensors: Sequence[str], inputs: Inputs, where: Path) -> dict[str, Extent]:
    """Return the extents of `tensors` [1, C, H, W] of a prepared `model` over `inputs`."""
    found = {name: _Moments() for name in tensors}
    for read in activations(model, tensors, inputs, where):
        for name, values in read.items():
            found[name].add(values)
    for name, each in found.items():
        if not np.isfinite(each.product).all():
            seen = f"values that are not finite, or too large to square, in tensor {name!r}"
            raise InputError(where, seen, "a model with finite activations")
    return {name: each.extent() for name, each in found.items()}
