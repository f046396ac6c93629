from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nibble.quantize.learned.soft import SoftRange, SoftWeights, soft_ranges  # noqa: E402
from nibble.quantize.plan import FREE, INPUT, UNIT, Plan  # noqa: E402
from nibble.quantize.ranges import Params  # noqa: E402
from nibble.quantize.weights import Grid, Weights, quantize_bias  # noqa: E402

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((6, 5, 3, 3)).astype(np.float32)
GRIDS = [Grid(4, "per-channel"), Grid(4, "per-tensor"), Grid(4, "block", 7)]
BIAS = np.linspace(-1, 1, 6).astype(np.float32)


def solved(grid: Grid, spread: int = 1) -> Weights:
    """Return scales that clip some weights, and codes up to `spread` off from the nearest."""
    shape = {"per-channel": (6,), "per-tensor": (1,), "block": (6, 7)}[grid.granularity]
    scale = RNG.uniform(0.2, 0.3, shape).astype(np.float32)
    rows = np.broadcast_to(scale[:, None] if scale.ndim == 1 else np.repeat(scale, 7, axis=1)[:, :45], (6, 45))
    exact = WEIGHT.reshape(6, 45) / rows
    codes = (np.rint(exact) + RNG.integers(-spread, spread + 1, exact.shape)).clip(*grid.limits)
    return Weights(codes.reshape(WEIGHT.shape).astype(np.int8), scale, BIAS, grid)


@pytest.mark.parametrize("grid", [*GRIDS, Grid(8, "per-channel")])
def test_what_is_not_learned_is_as_it_was(grid: Grid) -> None:
    given = solved(grid, 3)
    found = SoftWeights(WEIGHT, given).found(None)
    for name in ("codes", "scale", "bias"):
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
    assert (found.codes.dtype, found.scale.dtype, found.bias.dtype) == (np.int8, np.float32, np.float32)


@pytest.mark.parametrize("grid", GRIDS)
def test_weights_begin_between_the_float_weight_and_its_code(grid: Grid) -> None:
    given = solved(grid, 0)
    began = SoftWeights(WEIGHT, given).weight(1.0).detach().numpy()
    low, high = (function(WEIGHT, given.dequantized()) for function in (np.minimum, np.maximum))
    inside = given.codes.astype(int) == np.clip(given.codes, -7, 6)
    assert (began > low - 0.015)[inside].all()
    assert (began < high + 0.015)[inside].all()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("spread", [0, 3])
def test_the_hotter_the_nearer_to_the_codes(grid: Grid, spread: int) -> None:
    given = solved(grid, spread)
    soft = SoftWeights(WEIGHT, given)
    errors = [np.abs(soft.weight(t).detach().numpy() - given.dequantized()).max() for t in (1, 10, 1e4, None)]
    assert errors[0] > errors[1] > errors[2] >= errors[3] == 0


@pytest.mark.parametrize("spread", [0, 1, 4])
@pytest.mark.parametrize("push", [-100.0, 100.0])
def test_codes_move_by_one_at_most_and_stay_in_their_limits(push: float, spread: int) -> None:
    given = solved(GRIDS[0], spread)
    soft = SoftWeights(WEIGHT, given)
    with torch.no_grad():
        soft.a += push
    found = soft.found(None).codes.astype(int)
    assert found.min() >= -8
    assert found.max() <= 7
    moved = found - given.codes
    assert set(np.unique(moved)) == {0, int(np.sign(push))}
    exact = WEIGHT / given.scale.reshape(-1, 1, 1, 1)
    around = (found == np.floor(exact)) | (found == np.ceil(exact))
    assert (around | (np.abs(moved) == 1) | (found == given.codes)).all()


def test_gradients_reach_codes_scales_and_bias() -> None:
    soft = SoftWeights(WEIGHT, solved(GRIDS[0]))
    (soft.weight(1.0) ** 2).sum().backward()
    assert soft.a is not None
    assert soft.a.grad.abs().min() > 0
    assert soft.growth.grad.abs().min() > 0
    assert SoftWeights(WEIGHT, solved(Grid(8, "per-channel"))).a is None


def test_scales_are_learned_as_factors() -> None:
    given = solved(GRIDS[2])
    soft = SoftWeights(WEIGHT, given)
    with torch.no_grad():
        soft.growth += 0.5
    np.testing.assert_allclose(soft.found(None).scale, given.scale * np.exp(0.5), rtol=1e-6)


@pytest.mark.parametrize("grid", GRIDS[:2])
def test_scales_and_biases_of_integer_convolutions_have_23_bits(grid: Grid) -> None:
    step = 1e-7
    soft = SoftWeights(WEIGHT, solved(grid))
    with torch.no_grad():
        soft.growth -= 20.0
        soft.bias += 1e3
    found = soft.found(step)
    assert (found.scale > 0).all()
    assert np.abs(quantize_bias(found.bias, step, found.scale)).max() <= 2**23 + 1


def test_rounding_passes_gradients_straight_through() -> None:
    x = torch.tensor([-9.0, -0.6, 0.3, 99.0], requires_grad=True)
    soft = SoftRange(Params(0.5, 3, 15), learned=True, moves=True)
    rounded = soft.round(x)
    assert rounded.tolist() == [-1.5, -0.5, 0.5, 6.0]
    rounded.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]
    assert soft.growth.grad.item() != 0
    assert soft.zero_point.grad.item() != 0


@pytest.mark.parametrize("learned", [True, False])
def test_rounding_is_the_same_whether_or_not_it_is_learned(learned: bool) -> None:
    params = Params(float(np.float32(0.37)), 5, 15)
    x = torch.linspace(-4, 6, 1001)
    codes = (np.rint(x.numpy() / np.float32(0.37)) + 5).clip(0, 15)
    got = SoftRange(params, learned, learned).round(x.bfloat16().float()).detach().numpy()
    assert np.unique(got).size == 16
    close = np.isclose(SoftRange(params, learned, learned).round(x).detach().numpy(), (codes - 5) * 0.37, atol=1e-6)
    assert close.mean() > 0.99


def test_ranges_that_share_a_scale_share_what_is_learned() -> None:
    plan = Plan(codes={"x": INPUT, "s": UNIT, "a": FREE, "b": FREE, "c": FREE, "r": "clip at 6.0"})
    plan.tie("a", "b")
    params = {name: Params(0.5, 3, 15) for name in plan.codes}
    ranges = soft_ranges(plan, params)
    assert ranges["a"] is ranges["b"]
    assert ranges["a"] is not ranges["c"]
    assert {name: (each.learned, each.moves) for name, each in ranges.items()} == {
        "x": (False, False),
        "s": (False, False),
        "a": (True, True),
        "b": (True, True),
        "c": (True, True),
        "r": (True, False),
    }
    assert {name: each.found() for name, each in ranges.items()} == params


@pytest.mark.parametrize(("moved", "zero_point"), [(0.4, 3), (0.6, 4), (50.0, 15), (-50.0, 0)])
def test_zero_points_are_codes(moved: float, zero_point: int) -> None:
    soft = SoftRange(Params(0.5, 3, 15), learned=True, moves=True)
    with torch.no_grad():
        soft.zero_point += moved
        soft.growth += 0.1
    assert soft.found() == Params(float(np.float32(0.5 * float(torch.tensor(0.1).exp()))), zero_point, 15)
    assert soft.round(torch.zeros(1)).abs().item() < 1e-6
    assert soft.round(torch.full((1,), 1e3)).item() == pytest.approx(soft.found().high)
