from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from nibble.train.batches import Batch, collate  # noqa: E402
from nibble.train.data import Sample  # noqa: E402
from nibble.train.export import decoder_of  # noqa: E402
from nibble.train.loss import decode, detection_loss, overlaps  # noqa: E402
from nibble.train.recipe import Recipe  # noqa: E402
from nibble.yolo.decode import decode as reference  # noqa: E402

side = st.floats(1, 60, width=32)
place = st.floats(0, 60, width=32)


def batch(recipe: Recipe, *boxes: list[float], label: int = 0) -> Batch:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    classes = np.full(len(boxes), label, np.int64)
    return collate([Sample(np.zeros((64, 64, 3), np.uint8), corners, classes)], recipe)


def test_boxes_are_those_of_the_decoder(recipe: Recipe) -> None:
    raw = torch.randn(1, 12, 8, 8, generator=torch.Generator().manual_seed(1))
    flat = raw.view(2, 6, 8, 8).permute(0, 2, 3, 1).flatten(0, 2)
    ours = decode(flat, torch.arange(128), (2, 8, 8), recipe.model).numpy()
    expected = reference({"head": raw.numpy()}, decoder_of(recipe), 0.0)
    corners = np.concatenate([ours[:, :2] - ours[:, 2:] / 2, ours[:, :2] + ours[:, 2:] / 2], axis=1)
    np.testing.assert_allclose(corners, expected.boxes, rtol=1e-4, atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(st.tuples(place, place, side, side), st.tuples(place, place, side, side))
def test_overlap_is_iou_and_ciou_is_never_more(one: tuple[float, ...], two: tuple[float, ...]) -> None:
    ciou, iou = (float(v) for v in overlaps(torch.tensor([one]), torch.tensor([two])))
    low = [max(a - aw / 2, b - bw / 2) for a, b, aw, bw in zip(one[:2], two[:2], one[2:], two[2:], strict=True)]
    high = [min(a + aw / 2, b + bw / 2) for a, b, aw, bw in zip(one[:2], two[:2], one[2:], two[2:], strict=True)]
    shared = max(high[0] - low[0], 0) * max(high[1] - low[1], 0)
    expected = shared / (one[2] * one[3] + two[2] * two[3] - shared)
    assert iou == pytest.approx(expected, abs=2e-3)
    assert ciou <= iou + 1e-6


def test_equal_boxes_have_ciou_one() -> None:
    box = torch.tensor([[10.0, 12.0, 7.0, 9.0]])
    assert [float(v) for v in overlaps(box, box)] == pytest.approx([1, 1], abs=1e-5)


def test_a_picture_without_boxes_has_only_objectness(recipe: Recipe) -> None:
    terms = detection_loss(torch.zeros(1, 12, 8, 8), batch(recipe), recipe.model, recipe.loss)
    assert terms.tolist() == pytest.approx([0, 128 * np.log(2), 0], rel=1e-5)


def test_ignored_slots_cost_nothing(recipe: Recipe) -> None:
    terms = detection_loss(torch.zeros(1, 12, 8, 8), batch(recipe, [1, 1, 7, 7], label=-1), recipe.model, recipe.loss)
    assert terms.tolist() == pytest.approx([0, 126 * np.log(2), 0], rel=1e-5)


def test_the_class_channel_learns_the_overlap(recipe: Recipe) -> None:
    data = recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"neighbours": False, "anchor_ratio": 1})})
    target = batch(data, [16, 16, 24, 24], label=1)
    raw = torch.zeros(1, 14, 8, 8)
    losses = []
    for logit in (-2.0, 8.0):
        raw[0, 6, 2, 2] = logit
        losses.append(detection_loss(raw, target, data.model, data.loss)[2].item())
    assert losses[1] < losses[0]


def test_raw_values_trained_on_one_picture_find_its_boxes(recipe: Recipe) -> None:
    raw = torch.zeros(1, 12, 8, 8, requires_grad=True)
    target = batch(recipe, [10, 12, 20, 21], [40, 30, 60, 55])
    optimizer = torch.optim.Adam([raw], 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        detection_loss(raw, target, recipe.model, recipe.loss).sum().backward()
        optimizer.step()
    found = reference({"head": raw.detach().numpy()}, decoder_of(recipe), 0.5)
    assert len(found) == len(target.slots)
    corners = {tuple(np.round(box).astype(int).tolist()) for box in found.boxes}
    assert corners == {(10, 12, 20, 21), (40, 30, 60, 55)}


def test_enormous_raw_values_keep_the_loss_finite(recipe: Recipe) -> None:
    raw = torch.full((1, 12, 8, 8), 1e4)
    terms = detection_loss(raw, batch(recipe, [10, 12, 20, 21]), recipe.model, recipe.loss)
    assert bool(torch.isfinite(terms).all())
