"""Quantization recipes: YAML files with every key given, checked against a schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from nibble.errors import InputError
from nibble.paths import BUILD_CONFIGS
from nibble.yaml_file import read_mapping

FOLDER = BUILD_CONFIGS / "recipes"

WeightBits = Literal[4, 8, 32]
"""Bits of a convolution's weights; 32: the convolution stays float."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Recipe(_Strict):
    images: Annotated[int, Field(ge=1)]
    """How many pictures to calibrate with, chosen by `random.Random(seed).sample`; all when the folder holds fewer."""
    seed: Annotated[int, Field(ge=0)]


class ReferenceRecipe(_Recipe):
    """The published protocol: `onnxruntime.quantization.quantize_static`, QOperator, min-max ranges, 8-bit heads."""

    writer: Literal["onnxruntime"]
    per_channel: bool
    """One weight scale per output channel, or one per tensor."""


class WeightRecipe(_Strict):
    """How the weights of the convolutions become codes."""

    bits: Literal[4, 8]
    """Of all convolutions but those that `edges`, `small` and `layers` name."""
    granularity: Literal["per-tensor", "per-channel", "block"]
    """What one scale serves: a tensor, an output channel, or `block` weights of an output channel."""
    block: Annotated[int, Field(ge=1)] | None
    """Consecutive weights of an output channel, in the order [C / groups, kh, kw], that share a scale."""
    clip: Literal["absmax", "mse", "hessian"]
    """How a scale is chosen."""
    rounding: Literal["nearest", "gptq", "learned"]
    """How codes are chosen for given scales; learned: GPTQ's codes, then all of them together by gradients."""
    iterations: Annotated[int, Field(ge=1)] | None
    """Steps of learning, for `rounding: learned`; null otherwise."""
    storage: Literal["int4", "uint4", "packed"]
    """4-bit codes as ONNX INT4, as UINT4 with zero point 8, or two to a UINT8 byte."""

    @model_validator(mode="after")
    def _block_fits(self) -> WeightRecipe:
        if (self.granularity == "block") != (self.block is not None):
            raise _conflict("block", self.block, "a number with granularity: block, null otherwise")
        return self

    @model_validator(mode="after")
    def _learning_fits(self) -> WeightRecipe:
        if (self.rounding == "learned") != (self.iterations is not None):
            raise _conflict("iterations", self.iterations, "a number with rounding: learned, null otherwise")
        if self.rounding == "learned" and self.storage == "packed":
            raise _conflict("storage", self.storage, "int4 or uint4 with rounding: learned")
        return self


class ActivationRecipe(_Strict):
    """How the ranges of the tensors between the convolutions are chosen."""

    bits: Literal[4, 8]
    """Of what the convolutions read, but those that `edges` and `layers` name; codes 0..15 or 0..255."""
    range: Literal["min-max", "percentile", "mse", "output", "entropy", "unilateral"]
    """How a range is chosen from a tensor's histogram."""
    percentile: Annotated[float, Field(gt=50, le=100)] | None
    """Share of the values that each end of the range keeps, for `range: percentile`; null otherwise."""

    @model_validator(mode="after")
    def _percentile_fits(self) -> ActivationRecipe:
        if (self.range == "percentile") != (self.percentile is not None):
            raise _conflict("percentile", self.percentile, "a number with range: percentile, null otherwise")
        return self


class EdgeRecipe(_Strict):
    """Bits of the weights of the outermost convolutions, which read 8 bits."""

    first: WeightBits
    """The convolutions that read the network's input."""
    heads: WeightBits
    """The convolutions that write the network's outputs."""


class SmallRecipe(_Strict):
    """Bits of the weights of the convolutions that have the fewest, which cost little and often do much damage."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """Of the weights of all convolutions with `weights.bits`, what these hold together at most."""
    weight_bits: Literal[8, 32]
    """More than `weights.bits`; 32: they stay float."""


class LayerRecipe(_Strict):
    """An exception for some convolutions."""

    match: str
    """Shell pattern over the names of the Conv nodes, with `*`, `?` and `[...]`."""
    weight_bits: WeightBits | None
    """null: no exception."""
    activation_bits: Literal[4, 8] | None
    """null: no exception."""


class IntegerRecipe(_Recipe):
    """Our graph: integer (uint8 activations, heads as int32 accumulators), or float with low-bit weights."""

    writer: Literal["nibble"]
    windows: Annotated[int, Field(ge=0)]
    """Windows of each picture, at other scales, that methods for weights look at besides."""
    form: Literal["integer", "weight-only"]
    """Convolutions in integers, or weights dequantized before float ones."""
    weights: WeightRecipe
    activations: ActivationRecipe | None
    """null with form: weight-only."""
    edges: EdgeRecipe
    small: SmallRecipe | None
    """null: convolutions with few weights are as any."""
    layers: list[LayerRecipe]
    """Exceptions to all of the above; the last that matches wins."""
    equalize: bool
    """Whether factors move between convolutions where that is exact."""
    bias_correction: bool
    """Whether biases take up the mean error of the weights."""
    share_concat_scales: bool
    """Whether the inputs and the output of a Concat share one scale, so that it moves bytes only."""
    conv_n_bits: bool
    """Whether 4-bit integer convolutions are calls of the model's own function ConvNBits."""

    @model_validator(mode="after")
    def _form_fits(self) -> IntegerRecipe:
        integer = self.form == "integer"
        if integer != (self.activations is not None):
            raise _conflict(
                "activations", self.activations, "a mapping with form: integer, null with form: weight-only"
            )
        if integer and self.weights.granularity == "block":
            raise _conflict("weights.granularity", "block", "per-tensor or per-channel with form: integer")
        if integer and self.weights.storage != "int4":
            raise _conflict("weights.storage", self.weights.storage, "int4 with form: integer")
        for key in ("share_concat_scales", "conv_n_bits"):
            if getattr(self, key) and not integer:
                raise _conflict(key, True, "false with form: weight-only")
        for index, layer in enumerate(self.layers):
            if layer.activation_bits and not integer:
                key = f"layers.{index}.activation_bits"
                raise _conflict(key, layer.activation_bits, "null with form: weight-only")
        return self

    @model_validator(mode="after")
    def _small_fits(self) -> IntegerRecipe:
        if self.small and self.small.weight_bits <= self.weights.bits:
            raise _conflict("small.weight_bits", self.small.weight_bits, f"32 with weights.bits: {self.weights.bits}")
        return self


Recipe = Annotated[ReferenceRecipe | IntegerRecipe, Field(discriminator="writer")]
_ADAPTER: TypeAdapter[ReferenceRecipe | IntegerRecipe] = TypeAdapter(Recipe)


def load_recipe(source: str) -> ReferenceRecipe | IntegerRecipe:
    """Read a recipe: a YAML path, or the name of a built-in one. Raises InputError naming the file and the key."""
    path = _locate(source)
    return check_recipe(read_mapping(path, "a recipe", "a mapping of recipe keys"), path)


def check_recipe(content: dict[Any, Any], where: Path) -> ReferenceRecipe | IntegerRecipe:
    """Return the recipe that `content` is; raises InputError naming `where` and the key."""
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        raise InputError(where, *_explain(error.errors(include_url=False)[0])) from error


def builtin_names() -> list[str]:
    """Return the names of the recipes that come with nibble."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def with_granularity(recipe: ReferenceRecipe | IntegerRecipe, per_channel: bool) -> ReferenceRecipe | IntegerRecipe:
    """Return `recipe` with one weight scale per output channel or per tensor."""
    if isinstance(recipe, ReferenceRecipe):
        return recipe.model_copy(update={"per_channel": per_channel})
    change = {"granularity": "per-channel" if per_channel else "per-tensor", "block": None}
    return recipe.model_copy(update={"weights": recipe.weights.model_copy(update=change)})


def _locate(source: str) -> Path:
    if source in builtin_names():
        return FOLDER / f"{source}.yaml"
    path = Path(source)
    if not path.exists():
        raise InputError(source, "no such file", f"a YAML file or one of {', '.join(builtin_names())}")
    return path


def _conflict(key: str, found: object, expected: str) -> ValueError:
    """Return the error of a key that does not fit another one."""
    return ValueError(key, found, expected)


def _explain(error: Any) -> tuple[str, str]:
    """Return what was found and what was expected."""
    kind, message, found = error["type"], error["msg"], error["input"]
    path = [str(part) for part in error["loc"] if part not in ("onnxruntime", "nibble")]
    key = ".".join(path)
    if kind == "value_error":
        inner, found, expected = error["ctx"]["error"].args
        return f"{'.'.join([*path, inner])}: {_shown(found)}", expected
    fixed = {
        "union_tag_not_found": ("no key 'writer'", "every key of a recipe"),
        "union_tag_invalid": (f"writer: {error.get('ctx', {}).get('tag')!r}", "onnxruntime or nibble"),
        "missing": (f"no key {key!r}", "every key of a recipe"),
        "extra_forbidden": (f"unknown key {key!r}", "the keys of a recipe only"),
        "model_type": (f"{key}: {_shown(found)}", "a mapping of its keys"),
    }
    return fixed.get(kind, (f"{key}: {_shown(found)}", message.removeprefix("Input should be ")))


def _shown(value: object) -> str:
    return "a mapping" if isinstance(value, BaseModel | dict) else repr(value)
