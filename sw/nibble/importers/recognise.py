"""Which decoder the raw heads of a model need, from their channels and from what the model itself does with them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import onnx

from nibble.errors import InputError
from nibble.importers.heads import RawHead
from nibble.importers.names import class_names
from nibble.yolo.spec import FAMILIES, LARGEST, Decoder, Head, Preprocess, is_divisor

YOLOV5_ANCHORS = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
"""COCO anchors of YOLOv5 (ultralytics/yolov5, models/yolov5s.yaml), strides 8, 16, 32."""
NANODET_MEAN = (103.53, 116.28, 123.675)
NANODET_STD = (57.375, 57.12, 58.395)
"""Blue, green, red (RangiLyu/nanodet, config/nanodet-plus-m_416.yml)."""
NANODET_BINS = 8
DFL_CHANNELS = 64
"""Four sides of 16 bins, in every published YOLOv8 and YOLOv10."""

USED_BY = {"anchors": ("yolo", "yolov5"), "scale_x_y": ("yolo",), "bins": ("nanodet",)}
"""Families that an option says something about."""

Groups = list[list[RawHead]]


@dataclass(frozen=True)
class Options:
    """What the user says about the decoder; None where the model, or the family's custom, decides."""

    decoder: str | None = None
    heads: tuple[str, ...] = ()
    anchors: tuple[float, ...] = ()
    scale_x_y: tuple[float, ...] = ()
    names: Path | None = None
    color: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bins: int | None = None


def check_options(kind: str, options: Options) -> None:
    """Raise InputError for an option that the decoder of family `kind` has no use for."""
    for key, users in USED_BY.items():
        if getattr(options, key) and kind not in users:
            raise InputError(f"--{key.replace('_', '-')}", f"a {kind} decoder", " or ".join(users))


def group_heads(heads: Sequence[RawHead]) -> Groups:
    """Group heads, strides ascending, by stride."""
    return [list(group) for _, group in groupby(heads, key=lambda head: head.stride)]


def family(groups: Groups, tail: set[str], where: Path, options: Options) -> str:
    """Return the decoder's family: the one asked for, or the one whose operators follow the heads.

    `tail` holds the operators after the heads. Raises InputError when they tell nothing.
    """
    if options.decoder:
        if options.decoder not in FAMILIES:
            raise InputError("--decoder", options.decoder, " or ".join(FAMILIES))
        return options.decoder
    if all(len(group) == 2 for group in groups):
        return "yolov10" if "TopK" in tail else "yolov8"
    if all(len(group) == 1 for group in groups):
        if "Exp" in tail:
            return "yolo"
        if "Softmax" in tail or ("Split" in tail and "Mul" not in tail):
            return "nanodet"
        if "Mul" in tail or "Pow" in tail:
            return "yolov5"
    found = ", ".join(f"{'+'.join(str(h.channels) for h in group)} channels at {group[0].stride}" for group in groups)
    expected = "`nibble import onnx` with --decoder and, perhaps, --heads"
    raise InputError(where, f"heads of {found} and no known decoder after them", expected)


def boxes_first(groups: Groups, where: Path, ordered: bool) -> Groups:
    """Order each pair of heads as boxes, classes; `ordered` when the user gave that order."""
    for group in groups:
        if len(group) != 2:
            found = f"{len(group)} heads at stride {group[0].stride}"
            raise InputError(where, found, "two, boxes and classes (give them with --heads)")
    return groups if ordered else [_boxes_first(group, where) for group in groups]


def one_each(groups: Groups, where: Path) -> None:
    """Check that each stride has one head, as the anchor families and NanoDet have; raises InputError."""
    for group in groups:
        if len(group) != 1:
            raise InputError(where, f"{len(group)} heads at stride {group[0].stride}", "one (give them with --heads)")


def _boxes_first(group: list[RawHead], where: Path) -> list[RawHead]:
    dfl = [head for head in group if head.channels == DFL_CHANNELS]
    fours = [head for head in group if head.channels % 4 == 0]
    for boxes in (dfl, fours):
        if len(boxes) == 1:
            return sorted(group, key=lambda head: head is not boxes[0])
    found = f"two heads of {group[0].channels} and {group[1].channels} channels at stride {group[0].stride}"
    raise InputError(where, found, "--heads in the order boxes, classes")


def describe(
    model: onnx.ModelProto, where: Path, kind: str, groups: Groups, names: Sequence[str], options: Options
) -> Decoder:
    """Return the decoder facts of `groups`, whose outputs are called `names` in the same order."""
    outputs = iter(names)
    heads = tuple(Head(tuple(next(outputs) for _ in group), group[0].stride) for group in groups)
    decoder = Decoder(kind, _preprocess(model, kind, options), (), heads)
    if kind in ("yolo", "yolov5"):
        return _with_anchors(decoder, model, where, groups, options)
    return _with_bins(decoder, model, where, groups, options)


def _preprocess(model: onnx.ModelProto, kind: str, options: Options) -> Preprocess:
    height, width = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:])
    custom = Preprocess(width, height)
    if kind == "nanodet":
        custom = Preprocess(width, height, "bgr", NANODET_MEAN, NANODET_STD)
    color = options.color or custom.color
    if color not in ("rgb", "bgr"):
        raise InputError("--color", color, "rgb or bgr")
    mean, std = _triple("--mean", options.mean or custom.mean), _triple("--std", options.std or custom.std)
    if any(abs(value) > LARGEST for value in mean):
        raise InputError("--mean", ",".join(f"{value:g}" for value in mean), f"numbers of at most {LARGEST:g}")
    if not all(map(is_divisor, std)):
        raise InputError("--std", ",".join(f"{value:g}" for value in std), f"numbers of {1 / LARGEST:g} to {LARGEST:g}")
    return replace(custom, color=color, mean=mean, std=std)


def _triple(option: str, values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) != 3:
        raise InputError(option, f"{len(values)} numbers", "three, one a channel")
    return (values[0], values[1], values[2])


def _with_anchors(decoder: Decoder, model: onnx.ModelProto, where: Path, groups: Groups, options: Options) -> Decoder:
    numbers = options.anchors or (YOLOV5_ANCHORS if decoder.family == "yolov5" else ())
    count, rest = divmod(len(numbers), 2 * len(groups))
    if not count or rest or min(numbers) <= 0:
        expected = f"--anchors w,h,... above zero, as many for each of {len(groups)} heads, strides ascending"
        raise InputError(where, f"{len(numbers)} anchor numbers", expected)
    scales = options.scale_x_y or (1.0,) * len(groups)
    if len(scales) != len(groups):
        raise InputError("--scale-x-y", f"{len(scales)} numbers", f"{len(groups)}, strides ascending")
    classes = _same([group[0].channels / count - 5 for group in groups], f"with {count} anchors", where)
    pairs = list(zip(map(float, numbers[::2]), map(float, numbers[1::2]), strict=True))
    heads = tuple(
        replace(head, anchors=tuple(pairs[index * count : (index + 1) * count]), scale_x_y=scales[index])
        for index, head in enumerate(decoder.heads)
    )
    return replace(decoder, heads=heads, classes=_names(model, classes, options))


def _with_bins(decoder: Decoder, model: onnx.ModelProto, where: Path, groups: Groups, options: Options) -> Decoder:
    if decoder.family == "nanodet":
        bins = options.bins or NANODET_BINS
        classes = _same([group[0].channels - 4 * bins for group in groups], f"with {bins} bins", where)
    else:
        bins = _same([group[0].channels / 4 for group in groups], "of boxes", where)
        classes = _same([group[1].channels for group in groups], "of classes", where)
    return replace(decoder, reg_max=bins, classes=_names(model, classes, options))


def _same(counts: Sequence[float], what: str, where: Path) -> int:
    """Return the one count of all heads."""
    if len(set(counts)) != 1 or counts[0] < 1 or counts[0] % 1:
        shown = ", ".join(f"{count:g}" for count in counts)
        raise InputError(where, f"heads {what} that leave {shown}", "one whole number above zero")
    return int(counts[0])


def _names(model: onnx.ModelProto, count: int, options: Options) -> tuple[str, ...]:
    """Names from the file given, else those Ultralytics writes into the model, else the customary ones."""
    if options.names is None:
        found = _recorded_names(model)
        if len(found) == count and not all(name.isdigit() for name in found):
            return found
    return class_names(count, options.names)


def _recorded_names(model: onnx.ModelProto) -> tuple[str, ...]:
    text = next((entry.value for entry in model.metadata_props if entry.key == "names"), "")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    return tuple(str(name) for name in value.values()) if isinstance(value, dict) else ()
