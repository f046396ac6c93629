"""The training recipe: one YAML, every key explicit, nothing guessed."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from nibble.errors import InputError
from nibble.yaml_file import read_mapping

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("a start that is not above the end")
    return bounds


def _relative(path: str) -> str:
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("a path inside the data folder")
    return path


Range = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
Relative = Annotated[str, AfterValidator(_relative)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Section):
    """One COCO annotation file and its folder of pictures, both relative to the data folder."""

    annotations: Relative
    images: Relative


class Data(_Section):
    """The two splits and the classes; `merge_categories` makes every category of the files the one class."""

    train: Split
    val: Split
    classes: tuple[str, ...] = Field(min_length=1)
    merge_categories: bool

    @model_validator(mode="after")
    def _one_class_when_merged(self) -> Data:
        if self.merge_categories and len(self.classes) != 1:
            raise ValueError(f"exactly one class to merge into, not {len(self.classes)}")
        return self


class Layer(_Section):
    """Convolution, batch normalisation, activation, and a max-pool 2x2 of stride 2 where `pool`."""

    channels: Count
    kernel: Literal[1, 3]
    pool: bool


class Bits(_Section):
    """Bits of the weights and activations between input and head.

    `input`: the pixels. `output`: the head's weights; its sums leave as they are.
    """

    weights: Annotated[int, Field(ge=2, le=8)]
    activations: Annotated[int, Field(ge=2, le=8)]
    input: Literal[8]
    output: Literal[8]

    def __str__(self) -> str:
        """Return the name of the mix, such as 4W4A."""
        return f"{self.weights}W{self.activations}A"

    @classmethod
    def parse(cls, text: str) -> Bits:
        """Return the bits that a name such as 4W4A says, input and output 8. Raises InputError."""
        found = re.fullmatch(r"([2-8])W([2-8])A", text)
        if not found:
            raise InputError("--bits", repr(text)[:60], "weights and activations of 2 to 8 bits, such as 4W4A")
        return cls(weights=int(found[1]), activations=int(found[2]), input=8, output=8)


_NAMED, _SECTION = "<name>", "<section>"


def _kind_of_bits(value: object) -> str:
    return _SECTION if isinstance(value, dict | Bits) else _NAMED


class Model(_Section):
    """A chain of layers and one head of anchors x (5 + classes) channels; `size` is the square input in pixels."""

    size: Annotated[int, Field(gt=0, le=8192)]
    bits: Annotated[
        Annotated[Literal["float"], Tag(_NAMED)] | Annotated[Bits, Tag(_SECTION)], Discriminator(_kind_of_bits)
    ]
    activation: Literal["relu", "leaky_relu"]
    layers: tuple[Layer, ...] = Field(min_length=1)
    anchors: tuple[tuple[Positive, Positive], ...] = Field(min_length=1)
    scale_x_y: Annotated[float, Field(ge=1, le=4)]

    @model_validator(mode="after")
    def _whole_grid(self) -> Model:
        if self.size % self.stride:
            raise ValueError(f"a size that is a multiple of the stride {self.stride}, not {self.size}")
        return self

    @model_validator(mode="after")
    def _quantized_relu(self) -> Model:
        if self.bits != "float" and self.activation != "relu":
            raise ValueError(f"relu where bits are given, not {self.activation}")
        return self

    @property
    def stride(self) -> int:
        """Pixels of the input per cell of the head."""
        return 1 << sum(layer.pool for layer in self.layers)


class Augment(_Section):
    """Random changes of a training picture; every share is a probability, every range is drawn log-uniformly.

    `mosaic`: four pictures in one. `zoom`: scale of a picture on the frame, 1 fits its longer side. `face`: instead of
    `zoom`, scale and move the picture so that one box has a longer side of `face_side` pixels (at most twice the
    largest `zoom`). `mosaic_until`: share of the epochs after which mosaics stop, so that the end of training sees
    whole pictures. `visible`: share of a box that must be left of it; `min_side`: its least side in pixels.
    `brightness` is in grey levels, `contrast`, `saturation` and `tint` are the greatest relative changes.
    """

    mosaic: Share
    mosaic_until: Share
    zoom: Range
    face: Share
    face_side: Range
    aspect: Range
    flip: Share
    grey: Share
    blur: Share
    brightness: NotNegative
    contrast: Share
    saturation: Share
    tint: Share
    visible: Share
    min_side: Positive


class Loss(_Section):
    """Weights of the three terms, and which slots may learn a box besides its best one.

    These have sides within a ratio of `anchor_ratio` of their anchor; with `neighbours`, the two nearest cells count.
    """

    box: NotNegative
    objectness: NotNegative
    classes: NotNegative
    anchor_ratio: Annotated[float, Field(ge=1)]
    neighbours: bool


class Optimizer(_Section):
    """AdamW with a linear warm-up and a cosine to `final_rate` x `rate`; gradients are clipped to `clip` (2-norm)."""

    rate: Positive
    final_rate: Share
    weight_decay: NotNegative
    warmup_epochs: NotNegative
    batch: Count
    clip: Positive
    ema: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["float32", "bfloat16"]
    threads: Count


class Recipe(_Section):
    """A whole training run. `validate_every` and `checkpoint_every` count epochs."""

    name: str = Field(min_length=1)
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    epochs: Count
    validate_every: Count
    checkpoint_every: Count
    data: Data
    model: Model
    augment: Augment
    loss: Loss
    optimizer: Optimizer

    def changed(self, bits: str | None = None, **changes: int | None) -> Recipe:
        """Return the recipe with other `bits` (such as 4W4A) and other top-level numbers, where given.

        Raises InputError on bits of another form or of a network that has no quantized form.
        """
        update: dict[str, object] = {key: value for key, value in changes.items() if value is not None}
        if bits is not None:
            if self.model.activation != "relu":
                raise InputError("--bits", f"a network with {self.model.activation}", "one with relu")
            update["model"] = self.model.model_copy(update={"bits": Bits.parse(bits)})
        return self.model_copy(update=update)


def load(path: Path) -> Recipe:
    """Read a recipe. Raises InputError naming the first key that is wrong."""
    raw = read_mapping(path, "a training recipe", "a mapping of its keys")
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise _input_error(path, error.errors()[0]) from error


def _input_error(path: Path, first: ErrorDetails) -> InputError:
    key = ".".join(str(part) for part in first["loc"] if part not in (_NAMED, _SECTION)) or "the whole file"
    value = first["input"]
    found = "what is there" if isinstance(value, dict) else repr(value)[:60]
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    found, expected = {
        "missing": ("no such key", "every key to be present"),
        "extra_forbidden": ("a key", "only known keys"),
    }.get(first["type"], (found, expected))
    return InputError(path, f"{found} at {key}", expected)
