from __future__ import annotations

import numpy as np
import pytest

from nibble.errors import InputError
from nibble.quantize.sensitivity.metrics import Cosine, Sqnr, head_metric

HEADS = {"a": np.array([3.0, 4.0], np.float32), "b": np.array([[1.0, 0.0]], np.float32)}
TURNED = HEADS | {"b": np.array([[0.0, 1.0]], np.float32)}


def test_cosine_is_the_mean_over_heads_and_pictures() -> None:
    metric = Cosine()
    parts = [metric.part(0, HEADS, HEADS), metric.part(1, TURNED, HEADS)]
    assert parts == pytest.approx([1.0, 0.5])
    assert metric.value(parts) == pytest.approx(0.75)
    assert metric.damage(0.75, 1.0) == pytest.approx(0.25)
    assert metric.damage(1.0 + 1e-9, 1.0) == 0


def test_sqnr_weighs_heads_by_their_own_power() -> None:
    metric = Sqnr()
    noisy = {"a": HEADS["a"] * np.float32(1.1), "b": HEADS["b"] * np.float32(1.1)}
    assert metric.part(0, noisy, HEADS) == pytest.approx(0.01, rel=1e-5)
    assert metric.value([0.01, 0.01]) == pytest.approx(20)
    assert metric.damage(20, 200) == pytest.approx(0.01)
    assert metric.value([metric.part(0, HEADS, HEADS)]) == 200


@pytest.mark.parametrize(("found", "cosine", "noise"), [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0)])
def test_a_head_of_zeros(found: float, cosine: float, noise: float) -> None:
    zeros = {"a": np.zeros(3, np.float32)}
    heads = {"a": np.full(3, found, np.float32)}
    assert Cosine().part(0, heads, zeros) == cosine
    assert Sqnr().part(0, heads, zeros) == noise


def test_unknown_metric() -> None:
    with pytest.raises(InputError, match=r"^--metric: found 'psnr', expected one of cosine, sqnr, ap$"):
        head_metric("psnr")
