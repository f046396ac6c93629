from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("brevitas")

from random_networks import randomized  # noqa: E402

from nibble.train.quantized import best_range  # noqa: E402
from nibble.train.recipe import Recipe  # noqa: E402

PICTURES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_layers_have_the_names_of_the_float_network(recipe: Recipe, quantized: Recipe) -> None:
    names = {name for name, _ in randomized(quantized).named_children()}
    assert names == {"input"} | {name for name, _ in randomized(recipe).named_children()}


@pytest.mark.parametrize(("mix", "weights", "levels"), [("2W4A", 1, 16), ("4W2A", 7, 4), ("8W3A", 127, 8)])
def test_weights_and_activations_have_as_many_values_as_their_bits(
    recipe: Recipe, mix: str, weights: int, levels: int
) -> None:
    network = randomized(recipe.changed(mix))
    codes = network.conv2.quant_weight().int()
    assert (codes.min().item(), codes.max().item()) == (-weights, weights)
    assert network.head.quant_weight().bit_width.item() == 8
    with torch.no_grad():
        values = network.act1(torch.linspace(-1, 20, 999))
        codes = (values / network.act1.act_quant.scale()).round().unique()
    assert codes.tolist() == list(range(levels))


def test_with_eight_bits_it_is_the_float_network(recipe: Recipe) -> None:
    plain, fine = randomized(recipe), randomized(recipe.changed("8W8A"))
    with torch.no_grad():
        expected, found = plain(PICTURES), fine(PICTURES)
    assert (found - expected).abs().mean() < 0.03 * expected.std()


def test_scales_are_learned(quantized: Recipe) -> None:
    network = randomized(quantized).train()
    network(PICTURES).square().mean().backward()
    scales = {name: p.grad for name, p in network.named_parameters() if name.endswith("scaling_impl.value")}
    assert len(scales) == 7
    assert all(grad is not None and grad.abs().sum() > 0 for grad in scales.values())


@pytest.mark.parametrize("levels", [1, 3, 7, 15])
def test_a_range_has_the_least_squared_error(levels: int) -> None:
    values = torch.randn(3, 200, generator=torch.Generator().manual_seed(levels))

    def error(end: torch.Tensor) -> torch.Tensor:
        step = end[:, None] / levels
        return ((values / step).round().clamp(-levels, levels) * step - values).square().sum(dim=1)

    best = best_range(values, levels)
    largest = values.abs().amax(dim=1)
    assert all((error(best) <= error(largest * share) * 1.0001).all() for share in (0.02, 0.2, 0.4, 0.6, 0.8, 1.0))


def test_the_range_of_nothing_is_not_zero() -> None:
    assert (best_range(torch.zeros(2, 9), 7) > 0).all()
