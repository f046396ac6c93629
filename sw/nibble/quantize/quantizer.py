"""From a float ONNX file, pictures and a recipe to an integer ONNX file."""

from __future__ import annotations

import importlib.util
import json
import resource
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from nibble import files
from nibble.errors import InputError
from nibble.onnx_io import load_model, read_decoder, save_model
from nibble.quantize.assign import assign, input_params, observed
from nibble.quantize.calibrate import observe
from nibble.quantize.equalize import equalize
from nibble.quantize.inspection import inspect_graph
from nibble.quantize.layers import FLOAT_BITS, LayerBits, assign_bits
from nibble.quantize.output_search import search_ranges
from nibble.quantize.pictures import Inputs, PictureInputs, Watch, choose_pictures
from nibble.quantize.plan import Plan, make_plan
from nibble.quantize.prepare import OPSET, lower_opset, prepare
from nibble.quantize.ranges import Params
from nibble.quantize.recipe import ActivationRecipe, IntegerRecipe, ReferenceRecipe
from nibble.quantize.solve import solve_weights
from nibble.quantize.weight_only import OLD_IR_VERSION, OLD_OPSET, PACKED_OPSET, write_weights
from nibble.quantize.weights import Weights
from nibble.quantize.windows import Windows
from nibble.quantize.writer import write_graph
from nibble.yolo.spec import Preprocess

RECIPE_KEY = "nibble.recipe"
"""Metadata key: the recipe and the number of calibration pictures as JSON."""


@dataclass(frozen=True)
class Summary:
    """What was done; the keys of `nibble quantize --json`."""

    recipe: str
    calibration_images: int
    seconds: float
    peak_rss_mib: float
    conv: int
    weight_bits: dict[str, int]
    sha256: str

    def to_json(self) -> dict[str, object]:
        """Return the keys and values."""
        return asdict(self)


def quantize_file(
    source: Path,
    calibration: Path,
    recipe: IntegerRecipe | ReferenceRecipe,
    name: str,
    target: Path,
    watch: Watch = iter,
) -> Summary:
    """Quantize the model in `source` with pictures of the folder `calibration`, write `target`; return what was done.

    `name` is the recipe's, for the metadata; `watch` may show progress over pictures and iterations. Raises InputError
    or UnsupportedError naming the file at fault.
    """
    start = time.perf_counter()
    prepared, preprocess = _open(source, recipe)
    pictures = choose_pictures(calibration, recipe.images, recipe.seed)
    inputs = PictureInputs(pictures, preprocess, watch)
    quantized = _quantize(prepared, inputs, preprocess, recipe, source, watch)
    facts = {"name": name, **recipe.model_dump(), "calibration_images": len(pictures)}
    quantized.metadata_props.append(onnx.StringStringEntryProto(key=RECIPE_KEY, value=json.dumps(facts)))
    save_model(quantized, target)
    convolutions = inspect_graph(quantized.graph)
    return Summary(
        recipe=name,
        calibration_images=len(pictures),
        seconds=round(time.perf_counter() - start, 3),
        peak_rss_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        conv=len(convolutions),
        weight_bits=dict(Counter(str(conv.weight_bits) for conv in convolutions)),
        sha256=files.sha256(target),
    )


def _open(source: Path, recipe: IntegerRecipe | ReferenceRecipe) -> tuple[onnx.ModelProto, Preprocess]:
    """Return the prepared model alone: the one read is not kept, large ones count twice otherwise."""
    model = load_model(source)
    return prepare(model, source, _opset(recipe)), read_decoder(model, source).preprocess


def _opset(recipe: IntegerRecipe | ReferenceRecipe) -> int:
    packed = isinstance(recipe, IntegerRecipe) and recipe.weights.storage == "packed"
    return PACKED_OPSET if packed else OPSET


def quantize_model(
    model: onnx.ModelProto,
    inputs: Inputs,
    preprocess: Preprocess,
    recipe: IntegerRecipe | ReferenceRecipe,
    where: Path,
) -> onnx.ModelProto:
    """Return the integer form of a float `model`, calibrated on `inputs` [1, 3, H, W]; `where` is named in errors."""
    return _quantize(prepare(model, where, _opset(recipe)), inputs, preprocess, recipe, where)


@dataclass(frozen=True)
class _Job:
    """A model to quantize, what with, and the bits of its convolutions."""

    prepared: onnx.ModelProto
    bits: Mapping[str, LayerBits]
    recipe: IntegerRecipe
    windows: Windows
    where: Path
    watch: Watch


def _quantize(
    prepared: onnx.ModelProto,
    inputs: Inputs,
    preprocess: Preprocess,
    recipe: IntegerRecipe | ReferenceRecipe,
    where: Path,
    watch: Watch = iter,
) -> onnx.ModelProto:
    _check_input(prepared.graph, preprocess, where)
    if isinstance(recipe, ReferenceRecipe):
        from nibble.quantize.reference import quantize_reference  # its library loads torch where that is installed

        return quantize_reference(prepared, inputs, recipe.per_channel, where)
    if recipe.weights.iterations is not None:
        _check_learnable(prepared, where)
    bits = assign_bits(prepared.graph, recipe, where)
    if recipe.equalize:
        prepared = equalize(prepared, bits, recipe, inputs, where)
    windows = Windows(inputs, recipe.windows, preprocess, recipe.seed)
    job = _Job(prepared, bits, recipe, windows, where, watch)
    return _weight_only(job) if recipe.activations is None else _integer(job, recipe.activations)


def _weight_only(job: _Job) -> onnx.ModelProto:
    _, weights = _solved(job, Plan(), {})
    storage = job.recipe.weights.storage
    written = write_weights(job.prepared, weights, storage)
    return lower_opset(written, job.where, OLD_OPSET, OLD_IR_VERSION) if storage == "packed" else written


def _integer(job: _Job, activations: ActivationRecipe) -> onnx.ModelProto:
    prepared, recipe, inputs = job.prepared, job.recipe, job.windows.inputs
    floats = [name for name, each in job.bits.items() if each.weight_bits == FLOAT_BITS]
    plan = make_plan(prepared.graph, recipe.share_concat_scales, floats)
    histograms = observe(prepared, observed(plan), inputs, job.where)
    known = input_params(job.windows.preprocess)
    params = assign(plan, prepared.graph, job.bits, histograms, known, activations)
    if activations.range == "output":
        params = search_ranges(prepared, plan, params, inputs, recipe.bias_correction, job.where)
    params, weights = _solved(job, plan, params)
    return write_graph(prepared, plan, params, weights, recipe.conv_n_bits)


def _solved(job: _Job, plan: Plan, params: dict[str, Params]) -> tuple[dict[str, Params], dict[str, Weights]]:
    """Return the weights, and `params` as they are or as learned with them."""
    weights = solve_weights(job.prepared, job.bits, params, job.recipe, job.windows, job.where)
    iterations = job.recipe.weights.iterations
    if iterations is None:
        return params, weights
    from nibble.quantize.learned.learn import learn  # PyTorch is an extra

    return learn(job.prepared, plan, params, weights, job.windows, iterations, job.where, job.watch)


def _check_learnable(prepared: onnx.ModelProto, where: Path) -> None:
    """Refuse early what learning would refuse after the other methods' minutes."""
    if importlib.util.find_spec("torch") is None:
        raise InputError("weights.rounding: learned", "no torch", "the extra `train`: pip install 'nibble-dpu[train]'")
    from nibble.quantize.learned.network import Network

    Network(prepared.graph, where)
    read_decoder(prepared, where)


def _check_input(graph: onnx.GraphProto, preprocess: Preprocess, where: Path) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    shapes = [
        [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in graph.input
        if value.name not in constants
    ]
    expected = [1, 3, preprocess.height, preprocess.width]
    if shapes != [expected]:
        raise InputError(where, f"inputs of shape {shapes}", f"one of shape {expected}, as its decoder says")
