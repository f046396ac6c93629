"""Cycles that the compiler predicts against those of the RTL, layer by layer, on the board's DDR."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nibble import cli
from nibble.config import load_board, load_dpu
from nibble.graph import ir
from nibble.graph.feeds import random_feeds
from nibble.graph.prove import lower_proven
from nibble.onnx_io import load_model
from nibble.paths import EMBEDDED_MODELS
from nibble.simulate.check import frames_of
from nibble.simulate.dpu_rtlsim import RtlsimCore
from nibble.simulate.execute import Execution
from nibble.simulate.measure import MeasuredLayer, measure
from nibble.simulate.plot import PARTS
from nibble.targets.dpu.compiler import compile_graph
from nibble.targets.dpu.program import DpuSegment, Program
from nibble.targets.dpu.rates import rates

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "unit" / "targets" / "dpu"))
from dpu_graphs import chain, conv
from dpu_models import program_bytes

BOARD, TINY = load_board("pynq-z2"), load_dpu("tiny")
POOL = (ir.MaxPool, {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)})
START = 60
"""Cycles that a layer's begin and end may be off, beside 10 %."""


def four(outputs: int, inputs: int) -> tuple[type[ir.Node], dict[str, Any]]:
    """A convolution of weights in 4 bits that makes 16 codes."""
    weights = np.random.default_rng(outputs).integers(-7, 8, (outputs, inputs, 3, 3)).astype(np.int8)
    requantize = ir.Requantize(np.full(outputs, 2.0**-6, np.float32), 3, 0, 15)
    return conv(outputs, inputs, 3, weights=weights, weight_bits=4, requantize=requantize)


GRAPHS: dict[str, Callable[[], ir.IntegerGraph]] = {
    "kernels": lambda: chain((1, 24, 26, 26), conv(32, 24, 3), POOL, conv(48, 32, 3), conv(16, 48)),
    "weights": lambda: chain((1, 64, 6, 6), conv(128, 64, 3), conv(128, 128), conv(64, 128, 3)),
    "drains": lambda: chain((1, 8, 40, 40), conv(64, 8), conv(8, 64), conv(32, 8)),
    "depthwise": lambda: chain((1, 40, 20, 20), conv(40, 1, 3, groups=40), conv(40, 40), conv(40, 1, 3, groups=40)),
    "pairs": lambda: chain((1, 16, 26, 13), four(40, 16), four(48, 40), POOL),
    "folded": lambda: chain((1, 3, 32, 32), conv(8, 3, 3), POOL, conv(5, 8, 3), POOL),
    "raw": lambda: chain((1, 32, 16, 16), conv(32, 32, 3), conv(48, 32, requantize=None)),
    "small": lambda: chain((1, 16, 4, 4), conv(16, 16), conv(16, 16), POOL, conv(16, 16)),
}


def assert_near(name: str, predicted: int, measured: int) -> None:
    assert abs(predicted - measured) <= START + 0.1 * measured, f"{name}: {predicted} predicted, {measured} measured"


@pytest.mark.parametrize("name", GRAPHS)
def test_small_programs(name: str) -> None:
    graph = GRAPHS[name]()
    program = compile_graph(graph, BOARD, TINY)
    core = RtlsimCore(TINY, BOARD)
    Execution(program, core).run(next(random_feeds(graph.input_tensors(), 1)), lambda name, value: None)
    (result,), (segment,) = core.results, program.manifest.segments
    assert isinstance(segment, DpuSegment)
    before = 0
    for layer in segment.layers:
        assert_near(layer.name, layer.predicted_cycles, result.reached[layer.end] - before)
        before = result.reached[layer.end]
    assert program.manifest.predicted_cycles == pytest.approx(result.cycles, rel=0.1)


def assert_frame(program: Program, model: Path) -> list[MeasuredLayer]:
    found = measure(program, frames_of(program.golden, model, []))
    assert found.simulation.bit_exact
    for each in found.layers:
        assert_near(each.layer.name, each.layer.predicted_cycles, each.cycles)
    assert program.manifest.predicted_cycles == pytest.approx(found.counters["cycles"], rel=0.02)
    check_parts(found.layers)
    return found.layers


def check_parts(layers: list[MeasuredLayer]) -> None:
    for each in layers:
        assert abs(sum(getattr(each, part) for part in PARTS) - each.cycles) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("dpu", ["tiny", "z7020"])
@pytest.mark.parametrize("model", ["lpyolo-faces-int8", "lpyolo-faces-4w4a"])
def test_whole_frames(model: str, dpu: str) -> None:
    path = EMBEDDED_MODELS / f"{model}.onnx"
    graph, _ = lower_proven(load_model(path), path)
    layers = assert_frame(compile_graph(graph, BOARD, load_dpu(dpu)), path)
    if (model, dpu) == ("lpyolo-faces-4w4a", "z7020"):
        found = rates([each.layer for each in layers], [each.cycles for each in layers])
        assert found["later_conv_mac_per_cycle"] >= 700


def test_the_table_and_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture, summary = tmp_path / "p.dpu", tmp_path / "cycles.png", tmp_path / "s.json"
    path.write_bytes(program_bytes())
    assert simulated(path, "--engine", "rtlsim", "--plot", picture, "--json", summary) == 0
    assert re.search(r"^layer +operation +cycles +predicted +MAC/cycle", capsys.readouterr().out, re.MULTILINE)
    assert cv2.imread(str(picture)).shape[1] == 1200
    found = json.loads(summary.read_text())
    assert [layer["name"] for layer in found["layers"]] == ["first", "pooled", "second"]
    counted = [f"cycles_{what}" for what in ("mac", "wait_features", "wait_weights", "wait_store")]
    for key in counted:
        assert 0 <= found["counters"][key] - sum(layer[key] for layer in found["layers"]) <= 20
    for layer in found["layers"]:
        assert sum(layer[key] for key in counted) <= layer["cycles"] + 20


def test_only_the_rtl_has_cycles_to_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.dpu"
    path.write_bytes(program_bytes())
    assert simulated(path, "--plot", tmp_path / "cycles.png") == 2
    assert "--plot: " in capsys.readouterr().err


def simulated(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as done:
        cli.main(["simulate", *(str(argument) for argument in arguments)])
    return int(done.value.code or 0)
