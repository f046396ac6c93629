from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nibble.train.assign import Targets, assign
from nibble.train.recipe import Recipe

GRID = 8  # of the tiny recipe: 64 pixels, stride 8
SLOTS = 2 * GRID * GRID


def targets(recipe: Recipe, *boxes: tuple[float, float, float, float], ignored: int = 0, **loss: object) -> Targets:
    """Assign boxes given by centre and sides; the last `ignored` of them have class -1."""
    centred = np.array(boxes, np.float32).reshape(-1, 4)
    corners = np.concatenate([centred[:, :2] - centred[:, 2:] / 2, centred[:, :2] + centred[:, 2:] / 2], axis=1)
    classes = np.array([0] * (len(boxes) - ignored) + [-1] * ignored)
    return assign(corners, classes, recipe.model, recipe.loss.model_copy(update=loss))


def places(result: Targets) -> set[tuple[int, int, int]]:
    """Return (anchor, row, column) of the positive slots."""
    return {(int(s) // GRID**2, int(s) // GRID % GRID, int(s) % GRID) for s in result.slots}


def test_the_cell_of_the_centre_and_the_nearest_it_reaches(recipe: Recipe) -> None:
    result = targets(recipe, (21, 30, 8, 8))
    assert places(result) == {(0, 3, 2), (0, 3, 3), (0, 4, 2), (1, 3, 2), (1, 3, 3), (1, 4, 2)}
    assert result.boxes.tolist() == [[21, 30, 8, 8]] * 6


def test_a_box_inside_its_cell_has_no_neighbours(recipe: Recipe) -> None:
    assert places(targets(recipe, (20, 28, 6, 6), anchor_ratio=1.5)) == {(0, 3, 2)}


def test_neighbours_may_be_left_out(recipe: Recipe) -> None:
    assert places(targets(recipe, (21, 30, 20, 20), neighbours=False)) == {(0, 3, 2), (1, 3, 2)}


def test_a_box_unlike_every_anchor_still_has_one_slot(recipe: Recipe) -> None:
    assert places(targets(recipe, (30, 30, 62, 62))) == {(1, 3, 3)}


def test_in_a_crowd_every_box_has_a_slot(recipe: Recipe) -> None:
    result = targets(recipe, (20, 20, 8, 8), (20.5, 20, 8, 8), neighbours=False)
    assert places(result) == {(0, 2, 2), (1, 2, 2)}
    assert sorted(result.boxes[:, 0].tolist()) == [20, 20.5]


def test_ties_go_to_the_earlier_box(recipe: Recipe) -> None:
    result = targets(recipe, (20, 20, 8, 8), (21, 20, 8, 8), (20, 21, 8, 8), neighbours=False)
    assert result.boxes[:, :2].tolist() == [[20, 20], [21, 20]]


def test_cells_under_an_ignored_box_are_silent_unless_positive(recipe: Recipe) -> None:
    result = targets(recipe, (20, 20, 6, 6), (20, 20, 14, 6), ignored=1, anchor_ratio=1.5)
    silent = {(a, 2, x) for a in (0, 1) for x in (1, 2, 3)} - {(0, 2, 2)}
    assert places(result) == {(0, 2, 2)}
    assert {(int(s) // 64, int(s) // 8 % 8, int(s) % 8) for s in result.ignored} == silent


def test_no_boxes_no_targets(recipe: Recipe) -> None:
    result = targets(recipe)
    assert (len(result.slots), result.boxes.shape, len(result.classes), len(result.ignored)) == (0, (0, 4), 0, 0)


@pytest.mark.parametrize("corner", [(0.0, 0.0), (64.0, 64.0), (0.0, 64.0)])
def test_a_centre_on_the_border_of_the_picture(recipe: Recipe, corner: tuple[float, float]) -> None:
    assert len(targets(recipe, (*corner, 8, 8)).slots) > 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.floats(0, 64, width=32)] * 2, *[st.floats(0.5, 64, width=32)] * 2), max_size=12))
def test_slots_are_distinct_and_boxes_are_near(recipe: Recipe, boxes: list[tuple[float, float, float, float]]) -> None:
    result = targets(recipe, *boxes)
    assert len(set(result.slots.tolist())) == len(result.slots)
    assert all(0 <= slot < SLOTS for slot in result.slots)
    for (_, row, column), box in zip([(0, s // 8 % 8, s % 8) for s in result.slots], result.boxes, strict=True):
        assert abs(box[0] / 8 - (column + 0.5)) <= 1.001
        assert abs(box[1] / 8 - (row + 0.5)) <= 1.001
