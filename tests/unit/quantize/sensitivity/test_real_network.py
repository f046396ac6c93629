"""YOLOv4-tiny: the sweep finds what is known of it, and mixed recipes keep to their cycles."""

from __future__ import annotations

from pathlib import Path

import pytest

from nibble.config import load_board, load_dpu
from nibble.importers import import_darknet
from nibble.mixed import mixed_recipe
from nibble.onnx_io import save_model
from nibble.quantize.layers import LayerBits, assign_bits
from nibble.quantize.sensitivity.effects import make_variants, measure_effects
from nibble.quantize.sensitivity.metrics import Cosine
from nibble.quantize.sensitivity.network import load_integer_recipe, open_network
from nibble.quantize.sensitivity.pool import Processes
from nibble.targets.dpu.price import price_model


@pytest.fixture(scope="module")
def source(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, models = tmp_path_factory.mktemp("real") / "m.onnx", data / "models"
    files = (models / f"yolov4-tiny.{end}" for end in ("cfg", "weights"))
    save_model(import_darknet(*files, models / "coco.names"), path)
    return path


def test_early_convolutions_are_the_sensitive_ones(data: Path, source: Path) -> None:
    network = open_network(source, data / "coco/train2017", load_integer_recipe("int4-absmax"))
    pictures, bits = network.calibration.part(0, 1), LayerBits(4, 32)
    variants = make_variants(network, [bits], pictures)
    effects = measure_effects(network, variants, pictures, Cosine(), Processes(1))
    assert len(effects.rows) == 21
    assert effects.reference == pytest.approx(1)
    assert all(0.95 < row.value < 1 for row in effects.rows)
    worst = sorted(effects.rows, key=lambda row: row.value)[:5]
    assert {row.name for row in worst} <= {f"conv_{index}" for index in (0, 1, 2, 4, 10, 18)}


@pytest.mark.slow
def test_mixed_recipes_take_the_cycles_asked_for(data: Path, source: Path) -> None:
    board = load_board("pynq-z2")
    target, recipe = (board, load_dpu(board.dpu)), load_integer_recipe("int8").model_copy(update={"images": 2})
    mixed = mixed_recipe(source, data / "coco/train2017", recipe, target, 6_000_000)
    network = open_network(source, data / "coco/train2017", mixed)
    bits = assign_bits(network.prepared.graph, mixed, source)
    assert set(bits.values()) == {LayerBits(8, 8), LayerBits(4, 4)}
    assert bits["conv_0"] == bits["conv_29"] == LayerBits(8, 8)
    cycles = price_model(network.quantized(mixed), source, *target).total
    assert 5_000_000 < cycles <= 6_000_000
