from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nibble.train.integers import LARGEST_BIAS, PIXEL_SCALE, fold  # noqa: E402


def normalisation(weight: list[float], bias: list[float], mean: list[float], variance: list[float]) -> torch.nn.Module:
    norm = torch.nn.BatchNorm2d(len(weight)).eval()
    with torch.no_grad():
        for tensor, values in (
            (norm.weight, weight),
            (norm.bias, bias),
            (norm.running_mean, mean),
            (norm.running_var, variance),
        ):
            tensor.copy_(torch.tensor(values))
    return norm


def test_folding_keeps_the_values_to_half_a_step() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-7, 8, (4, 5, 3, 3)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, 4)
    norm = normalisation([1.0, -0.5, 2.0, 0.1], [0.5, -1.0, 0.0, 0.3], [0.2, -0.3, 1.0, 0.0], [1.0, 0.3, 2.0, 0.5])
    pixels = rng.integers(0, 256, (5, 3, 3))
    sums = (codes.astype(int) * pixels).sum(axis=(1, 2, 3))
    with torch.no_grad():
        values = torch.tensor(sums * scale * PIXEL_SCALE, dtype=torch.float32).view(1, 4, 1, 1)
        expected = norm(values).flatten().numpy()
    folded, steps, bias = fold(codes, scale, norm, PIXEL_SCALE)
    step = steps * PIXEL_SCALE
    found = ((folded.astype(int) * pixels).sum(axis=(1, 2, 3)) + bias) * step
    assert (np.abs(found - expected) <= 0.51 * step).all()
    np.testing.assert_array_equal(folded[1], -codes[1])
    np.testing.assert_array_equal(folded[[0, 2, 3]], codes[[0, 2, 3]])


@pytest.mark.parametrize("weight", [0.0, 1e-12, -1e-12])
@pytest.mark.parametrize("bias", [0.0, 1.5, -1.5])
def test_a_channel_that_its_normalisation_silences_is_constant(weight: float, bias: float) -> None:
    norm = normalisation([weight], [bias], [0.0], [1.0])
    codes, steps, biases = fold(np.full((1, 2, 1, 1), 7, np.int8), np.array([0.1]), norm, PIXEL_SCALE)
    assert steps[0] > 0
    assert abs(biases[0]) <= LARGEST_BIAS
    assert biases[0] * steps[0] * PIXEL_SCALE == pytest.approx(bias)
    assert abs((codes * steps[0]).sum() * 255 * PIXEL_SCALE) < 1e-6
