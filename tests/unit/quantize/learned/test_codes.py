from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nibble.quantize.learned.codes import LearnedRange, LearnedWeights, learned_ranges  # noqa: E402
from nibble.quantize.plan import FREE, INPUT, UNIT, Plan  # noqa: E402
from nibble.quantize.ranges import Params  # noqa: E402
from nibble.quantize.weights import Grid, Weights, expanded, quantize_bias  # noqa: E402

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((6, 5, 3, 3)).astype(np.float32)
GRIDS = [Grid(4, "per-channel"), Grid(4, "per-tensor"), Grid(4, "block", 7)]
BIAS = np.linspace(-1, 1, 6).astype(np.float32)
SPREAD = torch.linspace(0, 2, 6)


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
    learned = LearnedWeights(WEIGHT, given, SPREAD)
    found = learned.found(None)
    for name in ("codes", "scale", "bias"):
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
    assert (found.codes.dtype, found.scale.dtype, found.bias.dtype) == (np.int8, np.float32, np.float32)
    np.testing.assert_allclose(learned.weight().detach().numpy(), given.dequantized(), rtol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("spread", [0, 1, 4])
def test_weights_begin_halfway_to_the_float_weight_but_at_their_code(grid: Grid, spread: int) -> None:
    given = solved(grid, spread)
    codes = given.codes.reshape(6, 45).astype(np.float32)
    began = LearnedWeights(WEIGHT, given, SPREAD).value.detach().numpy()
    assert np.abs(began - codes).max() <= 0.49
    exact = WEIGHT.reshape(6, 45) / expanded(given.scale, grid, 45)
    near = np.abs(exact - codes) < 0.9
    np.testing.assert_allclose(began[near], (exact + codes)[near] / 2, atol=1e-5)
    assert (np.sign(began - codes) == np.sign(exact - codes))[~near].all()


@pytest.mark.parametrize("push", [-3.0, 0.75, 100.0])
def test_codes_go_where_they_are_pushed_and_stay_in_their_limits(push: float) -> None:
    given = solved(GRIDS[0])
    learned = LearnedWeights(WEIGHT, given, SPREAD)
    began = learned.value.detach().numpy().copy()
    with torch.no_grad():
        learned.value += push
    found = learned.found(None)
    wanted = np.rint(began + np.float32(push)).clip(-8, 7)
    np.testing.assert_array_equal(found.codes.reshape(6, 45), wanted)
    np.testing.assert_allclose(learned.weight().detach().numpy(), found.dequantized(), rtol=1e-6)


def test_gradients_reach_codes_scales_and_bias() -> None:
    learned = LearnedWeights(WEIGHT, solved(GRIDS[0]), SPREAD)
    (learned.weight().sum() + learned.biases().sum()).backward()
    wanted = np.broadcast_to(learned.solved.scale[:, None], (6, 45))
    np.testing.assert_allclose(learned.value.grad.numpy(), wanted, rtol=1e-6)
    assert learned.growth.grad.abs().min() > 0
    assert torch.equal(learned.shift.grad, SPREAD)


def test_codes_beyond_their_limits_learn_no_further() -> None:
    learned = LearnedWeights(WEIGHT, solved(GRIDS[0]), SPREAD)
    with torch.no_grad():
        learned.value[0] += 20.0
    learned.weight().sum().backward()
    assert learned.value.grad[0].abs().max() == 0
    assert learned.value.grad[1].abs().min() > 0


def test_codes_of_8_bits_move_faster() -> None:
    rates = [LearnedWeights(WEIGHT, solved(grid), SPREAD).rate for grid in (GRIDS[0], Grid(8, "per-channel"))]
    assert rates == [1, 127 / 7]


def test_scales_are_learned_as_factors() -> None:
    given = solved(GRIDS[2])
    learned = LearnedWeights(WEIGHT, given, SPREAD)
    with torch.no_grad():
        learned.growth += 0.5
    np.testing.assert_allclose(learned.found(None).scale, given.scale * np.exp(0.5), rtol=1e-6)


@pytest.mark.parametrize("grid", GRIDS[:2])
def test_scales_and_biases_of_integer_convolutions_have_23_bits(grid: Grid) -> None:
    step = 1e-7
    learned = LearnedWeights(WEIGHT, solved(grid), SPREAD)
    with torch.no_grad():
        learned.growth -= 20.0
        learned.shift += 1e3
    found = learned.found(step)
    assert (found.scale > 0).all()
    assert np.abs(quantize_bias(found.bias, step, found.scale)).max() <= 2**23 + 1


def test_rounding_passes_gradients_straight_through() -> None:
    x = torch.tensor([-9.0, -0.6, 0.3, 99.0], requires_grad=True)
    span = LearnedRange(Params(0.5, 3, 15), learned=True, moves=True)
    rounded = span.round(x)
    assert rounded.tolist() == [-1.5, -0.5, 0.5, 6.0]
    (rounded * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 0]
    by_scale = 1 * -3 + 2 * (-1 + 0.6 / 0.5) + 3 * (1 - 0.3 / 0.5) + 4 * 12
    assert span.growth.grad.item() == pytest.approx(0.5 * by_scale, rel=1e-5)
    assert span.zero_point.grad.item() == -0.5 * (1 + 4)


@pytest.mark.parametrize("levels", [15, 255])
@pytest.mark.parametrize("learned", [True, False])
def test_rounding_is_that_of_quantize_linear(levels: int, learned: bool) -> None:
    scale = np.float32(5.5 / levels)
    x = torch.linspace(-4, 6, 1001)
    codes = (np.rint(x.numpy() / scale) + 5).clip(0, levels)
    got = LearnedRange(Params(float(scale), 5, levels), learned, learned).round(x).detach().numpy()
    assert np.isclose(got, (codes - 5) * scale, atol=1e-6).mean() > 0.99


def test_codes_of_4_bits_stay_in_bfloat16() -> None:
    x = (0.4 * torch.arange(-12.0, 14.0) + 0.1).bfloat16()
    fine, coarse = (LearnedRange(Params(0.4, 5, levels), True, True).round(x) for levels in (255, 15))
    assert (fine.dtype, coarse.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(coarse.float(), (x.float() / 0.4).round().clip(-5, 10) * 0.4, atol=0.02, rtol=0)


def test_ranges_that_share_a_scale_share_what_is_learned() -> None:
    plan = Plan(codes={"x": INPUT, "s": UNIT, "a": FREE, "b": FREE, "c": FREE, "r": "clip at 6.0"})
    plan.tie("a", "b")
    params = {name: Params(0.5, 3, 15) for name in plan.codes}
    ranges = learned_ranges(plan, params)
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
    span = LearnedRange(Params(0.5, 3, 15), learned=True, moves=True)
    with torch.no_grad():
        span.zero_point += moved
        span.growth += 0.1
    assert span.found() == Params(float(np.float32(0.5 * float(torch.tensor(0.1).exp()))), zero_point, 15)
    assert span.round(torch.zeros(1)).abs().item() < 1e-6
    assert span.round(torch.full((1,), 1e3)).item() == pytest.approx(span.found().high)
