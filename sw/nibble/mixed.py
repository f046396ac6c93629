"""Bits of each convolution for a number of cycles: the sensitivity sweep, priced by the DPU's compiler."""

from __future__ import annotations

from pathlib import Path

import onnx

from nibble.config import Board, DpuConfig, load_board, load_dpu
from nibble.quantize.layers import LayerBits
from nibble.quantize.recipe import IntegerRecipe
from nibble.quantize.sensitivity.effects import Track, silent, try_convolutions
from nibble.quantize.sensitivity.metrics import Cosine
from nibble.quantize.sensitivity.network import Network, open_network
from nibble.quantize.sensitivity.pool import processes
from nibble.quantize.sensitivity.schemes import Scheme
from nibble.quantize.sensitivity.study import Price, Pricing, Study
from nibble.quantize.sensitivity.widths import highest
from nibble.targets.dpu.price import price_model

Target = tuple[Board, DpuConfig]
PICTURES = 16
"""That the convolutions are tried on."""
LOW = LayerBits(4, 4)
"""What the least sensitive ones get: on the DPU, INT4 weights alone save memory, no cycles."""


def load_target(board: str, dpu: str | None) -> Target:
    """Return a board and the hardware size named, or the board's own. Raises InputError as `nibble compile` does."""
    chosen = load_board(board)
    return chosen, load_dpu(dpu or chosen.dpu)


def price_of(network: Network, model: onnx.ModelProto, target: Target | None) -> Price:
    """Return the bytes of a quantized form of the network, and its cycles where there is a target."""
    if target is None:
        return Price(model.ByteSize())
    cycles = price_model(model, network.path, *target)
    of_layers = {name: cycles.of_nodes.get(f"{name}_quant", 0) for name in network.assigned}
    return Price(model.ByteSize(), cycles.total, of_layers)


def pricing_of(network: Network, target: Target | None) -> Pricing:
    """Return what prices recipes, by sketches.

    The real network may take more: the DPU doubles a 4-bit convolution only if its weights' sums fit 16 bits.
    """
    return lambda recipe: price_of(network, network.sketched(recipe), target)


def mixed_recipe(
    model: Path,
    calibration: Path,
    recipe: IntegerRecipe,
    target: Target,
    cycles: int,
    track: Track = silent,
) -> IntegerRecipe:
    """Return `recipe` with the least sensitive inner convolutions at INT4, so that the DPU takes at most `cycles`.

    The sweep judges by the heads' cosine. Raises InputError as `open_network` does, and for too few cycles.
    """
    network = open_network(model, calibration, recipe)
    pictures = network.calibration.part(0, PICTURES)
    damage = try_convolutions(network, [LOW], pictures, pictures, Cosine(), processes(None), track).damage()
    free = [name for name in network.assigned if name in network.inner()]
    study = Study(network, highest(recipe), [LOW], free, damage, pricing_of(network, target))
    return study.recipe_of(within(network, study, target, cycles))


def within(network: Network, study: Study, target: Target, cycles: int) -> Scheme:
    """Return the scheme `mixed`: of least damage, at most `cycles` when quantized with all care and compiled.

    Raises InputError when there is none.
    """
    reserve = 0
    while True:
        scheme = study.mixed(cycles, reserve)
        price = price_of(network, network.quantized(study.recipe_of(scheme)), target)
        scheme.bytes, scheme.predicted_cycles = price.bytes, price.cycles
        if (price.cycles or 0) <= cycles:
            return scheme
        reserve += (price.cycles or 0) - cycles
