"""Quantization recipes: YAML files with every key given, checked against a schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from nibble.errors import InputError
from nibble.paths import BUILD_CONFIGS
from nibble.yaml_file import read_mapping

FOLDER = BUILD_CONFIGS / "recipes"


class _Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    images: Annotated[int, Field(ge=1)]
    """How many pictures to calibrate with, chosen by `random.Random(seed).sample`; all when the folder holds fewer."""
    seed: int
    per_channel: bool
    """One weight scale per output channel, or one per tensor."""


class ReferenceRecipe(_Recipe):
    """The published protocol: `onnxruntime.quantization.quantize_static`, QOperator, min-max ranges, 8-bit heads."""

    writer: Literal["onnxruntime"]


class IntegerRecipe(_Recipe):
    """Our integer graph: uint8 activations, int8 weights, heads as int32 accumulators."""

    writer: Literal["nibble"]
    range: Literal["min-max", "percentile", "mse"]
    """How an activation's range is chosen from its histogram."""
    percentile: Annotated[float, Field(gt=50, le=100)] | None
    """Share of the values that each end of the range keeps, for `range: percentile`; null otherwise."""
    share_concat_scales: bool
    """Whether the inputs and the output of a Concat share one scale, so that it moves bytes only."""

    @model_validator(mode="after")
    def _percentile_fits(self) -> IntegerRecipe:
        if (self.range == "percentile") != (self.percentile is not None):
            raise ValueError("a number for range: percentile, null otherwise")
        return self


Recipe = Annotated[ReferenceRecipe | IntegerRecipe, Field(discriminator="writer")]
_ADAPTER: TypeAdapter[ReferenceRecipe | IntegerRecipe] = TypeAdapter(Recipe)


def load_recipe(source: str) -> ReferenceRecipe | IntegerRecipe:
    """Read a recipe: a YAML path, or the name of a built-in one. Raises InputError naming the file and the key."""
    path = _locate(source)
    return _validate(read_mapping(path, "a recipe", "a mapping of recipe keys"), path)


def builtin_names() -> list[str]:
    """Return the names of the recipes that come with nibble."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _locate(source: str) -> Path:
    if source in builtin_names():
        return FOLDER / f"{source}.yaml"
    path = Path(source)
    if not path.exists():
        raise InputError(source, "no such file", f"a YAML file or one of {', '.join(builtin_names())}")
    return path


def _validate(content: dict[Any, Any], path: Path) -> ReferenceRecipe | IntegerRecipe:
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = next((str(part) for part in reversed(first["loc"]) if part not in ("onnxruntime", "nibble")), "writer")
        raise InputError(path, *_explain(key, first, content)) from error


def _explain(key: str, first: Any, content: dict[Any, Any]) -> tuple[str, str]:
    kind, message = first["type"], first["msg"]
    if kind in ("missing", "union_tag_not_found"):
        return f"no key {key!r}", "every key of a recipe"
    if kind == "extra_forbidden":
        return f"unknown key {key!r}", "the keys of a recipe only"
    if kind == "value_error":
        return f"percentile: {content.get('percentile')!r}", message.removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        return f"{key}: {content.get(key)!r}", "onnxruntime or nibble"
    return f"{key}: {content.get(key)!r}", message.removeprefix("Input should be ")
