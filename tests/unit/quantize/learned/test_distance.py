from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from nibble.errors import InputError  # noqa: E402
from nibble.quantize.learned.distance import head_distance, relative_error  # noqa: E402
from nibble.yolo.spec import Decoder, Head, Preprocess  # noqa: E402

CLASSES = ("a", "b", "c")
ANCHORS = ((3.0, 4.0), (5.0, 6.0))


def decoder(family: str, **changes: bool) -> Decoder:
    names = [("boxes", "classes")] if family in ("yolov8", "yolov10") else [("y",), ("z",)]
    anchors = ANCHORS if family in ("yolo", "yolov5") else ()
    bins = 0 if anchors else 4
    heads = tuple(Head(each, 8, anchors) for each in names)
    return Decoder(family, Preprocess(32, 32), CLASSES, heads, bins, **changes)


DECODERS = [
    decoder("yolo"),
    decoder("yolo", softmax=True),
    decoder("yolo", new_coords=True),
    decoder("yolov5"),
    decoder("yolov8"),
    decoder("yolov10"),
    decoder("nanodet"),
]


def heads(facts: Decoder) -> dict[str, torch.Tensor]:
    """Return the raw heads of two pictures; one cell of the first is sure of an object."""
    channels = {"boxes": 16, "classes": 3} if "v8" in facts.family or "v10" in facts.family else dict.fromkeys("yz", 16)
    if facts.family == "nanodet":
        channels = dict.fromkeys("yz", 19)
    random = torch.Generator().manual_seed(0)
    found = {name: torch.randn(2, count, 4, 4, generator=random) - 2 for name, count in channels.items()}
    for each in found.values():
        each[0, :, 1, 2] += 4
    return {name: each.sigmoid() for name, each in found.items()} if facts.new_coords else found


@pytest.mark.parametrize("facts", DECODERS)
def test_heads_are_at_no_distance_from_themselves(facts: Decoder) -> None:
    assert head_distance(heads(facts), heads(facts), facts, Path("m")).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("facts", DECODERS)
def test_the_distance_grows_with_the_error(facts: Decoder) -> None:
    wanted = heads(facts)
    noise = {name: torch.randn(each.shape, generator=torch.Generator().manual_seed(1)) for name, each in wanted.items()}
    scale = 0.02 if facts.new_coords else 0.2
    found = [
        head_distance(
            {name: each + scale * size * noise[name] for name, each in wanted.items()}, wanted, facts, Path("m")
        )
        for size in (0.1, 1.0, 3.0)
    ]
    assert 0 < found[0] < found[1] < found[2]


@pytest.mark.parametrize("facts", DECODERS)
def test_boxes_count_where_the_float_network_sees_an_object(facts: Decoder) -> None:
    wanted = heads(facts)
    boxes = {"boxes": slice(None)}.get(next(iter(wanted)), slice(3, 16) if facts.family == "nanodet" else slice(0, 4))
    shown = next(iter(wanted.values()))
    shown[0, boxes, 3, 3] = shown[0, boxes, 1, 2]

    def at(row: int, column: int) -> float:
        found = {name: each.clone() for name, each in wanted.items()}
        first = next(iter(found.values()))
        change = torch.linspace(0.05, 0.1, first[0, boxes, 0, 0].numel())
        first[0, boxes, row, column] += change if facts.new_coords else 5 * change
        return head_distance(found, wanted, facts, Path("m")).item()

    assert at(1, 2) > 2 * at(3, 3) > 0


def test_an_output_of_other_channels_is_refused() -> None:
    facts = decoder("yolov8")
    wrong = {"boxes": torch.zeros(1, 16, 4, 4), "classes": torch.zeros(1, 5, 4, 4)}
    with pytest.raises(InputError) as error:
        head_distance(wrong, wrong, facts, Path("m.onnx"))
    expected = "m.onnx: found output 'classes' of shape [5, 4, 4], expected 3 channels, as its decoder says"
    assert str(error.value) == expected


def test_relative_error() -> None:
    wanted = torch.tensor([0.0, 2.0, 4.0])
    assert relative_error(wanted + 2, wanted).item() == pytest.approx(1.0)
    assert relative_error(torch.zeros(3), torch.zeros(3)).item() == 0
