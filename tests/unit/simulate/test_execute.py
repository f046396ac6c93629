from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dpu_models import DECODER, SIDE, model, program_bytes
from dpu_run import BOARD, Core
from onnx import helper

from nibble import ort
from nibble.config import load_dpu
from nibble.engines import open_engine
from nibble.errors import CheckFailedError, InputError, NibbleError, UnsupportedError
from nibble.graph.prove import lower_proven
from nibble.simulate.check import Simulation, frames_of, simulate
from nibble.simulate.engine import CppsimCore, CppsimEngine
from nibble.simulate.execute import Execution, as_floats
from nibble.targets.dpu.compiler import compile_graph
from nibble.targets.dpu.memory import Memory
from nibble.targets.dpu.program import Program, load_program
from nibble.yolo.decode import RawHead
from nibble.yolo.letterbox import to_input

TINY = load_dpu("tiny")
FRAME = {"x": np.random.default_rng(5).random((1, 3, SIDE, SIDE), np.float32)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "p.dpu"
    path.write_bytes(program_bytes())
    return path


@pytest.fixture
def program(path: Path) -> Program:
    return load_program(path)


def golden(*names: str) -> ort.Tensors:
    return ort.run(ort.session(ort.with_outputs(model(), names)), FRAME)


@pytest.mark.parametrize("schedule", ["program-order", "concurrent", "loads-first", "loads-last"])
def test_outputs_are_onnxruntime_s_in_any_order_of_the_engines(program: Program, schedule: Any) -> None:
    outputs = Execution(program, Core(TINY, schedule, seed=3)).run(FRAME)
    assert list(outputs) == ["y"]
    assert isinstance(outputs["y"], RawHead)
    assert np.array_equal(as_floats(outputs["y"]), golden()["y"])


def test_tensors_are_seen_as_soon_as_they_are_complete(program: Program) -> None:
    seen: list[str] = []
    expected = golden("pooled", "second")

    def observe(name: str, value: np.ndarray) -> None:
        seen.append(name)
        assert np.array_equal(value, expected[name])

    execution = Execution(program, CppsimCore(TINY))
    execution.run(FRAME, observe)
    execution.run(FRAME, observe)
    assert seen == ["pooled", "second"] * 2


def test_a_frame_of_another_shape(program: Program) -> None:
    with pytest.raises(InputError, match=r"host_0\.onnx: found a model that onnxruntime cannot run \("):
        Execution(program, CppsimCore(TINY)).run({"x": FRAME["x"][:, :, 1:]})


def test_a_program_made_for_another_size(program: Program) -> None:
    core = CppsimCore(TINY.model_copy(update={"feature_bytes": 1024}))
    with pytest.raises(CheckFailedError, match="cppsim: error feature_range at the instruction at byte 0x"):
        Execution(program, core).run(FRAME)


def test_more_memory_than_there_is(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("nibble.simulate.execute.np.zeros", refuse)
    with pytest.raises(NibbleError) as raised:
        Execution(program, CppsimCore(TINY))
    needed = program.manifest.memory_bytes
    assert str(raised.value) == f"the program needs {needed} bytes of DDR: too many to simulate"


def test_simulation_compares_outputs_and_layers_of_every_frame(program: Program, path: Path) -> None:
    result = simulate(program, CppsimCore(TINY, "reference"), [FRAME, *frames_of(program.golden, path, [])])
    assert result.bit_exact
    assert (result.frames, result.tensors_compared, result.mismatches) == (2, 6, {})
    assert result.elements_compared == 2 * (8 + 7 + 7) * (SIDE // 2) ** 2


def test_random_frames_are_the_same_every_time(program: Program, path: Path) -> None:
    (a,), (b,) = frames_of(program.golden, path, []), frames_of(program.golden, path, [])
    assert np.array_equal(a["x"], b["x"])


class Flipping:
    """cppsim, and then one bit of DDR the other way round."""

    def __init__(self, address: int) -> None:
        self.core, self.address = CppsimCore(TINY), address

    def run_segment(self, memory: Memory, start: int, stops: Mapping[int, Callable[[], None]]) -> None:
        self.core.run_segment(memory, start, stops)
        memory[self.address] ^= 1


def test_a_single_bit_is_found(program: Program) -> None:
    second = program.manifest.tensors["second"]
    result = simulate(program, Flipping(second.addresses[0]), [FRAME])
    assert not result.bit_exact
    assert result.mismatches == {"y": 1}


def test_differences_are_counted() -> None:
    simulation = Simulation()
    assert not simulation.bit_exact
    simulation.compare("a", np.array([1, 2, 3]), np.array([1, 2, 3]))
    assert simulation.bit_exact
    simulation.compare("b", np.array([1, 2, 3]), np.array([1, 0, 0]))
    simulation.compare("b", np.array([1, 2, 3]), np.array([1, 0, 3]))
    simulation.compare("c", np.array([1], np.int8), np.array([1], np.uint8))
    simulation.compare("d", np.zeros((2, 3)), np.zeros((3, 2)))
    assert simulation.mismatches == {"b": 3, "c": 1, "d": 6}
    assert (simulation.tensors_compared, simulation.elements_compared) == (5, 16)
    assert not simulation.bit_exact


def test_pictures_through_the_engine(path: Path) -> None:
    engine = open_engine(path, "cppsim")
    assert isinstance(engine, CppsimEngine)
    assert (engine.name, engine.decoder) == ("cppsim", DECODER)
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    (output,) = engine.infer(picture).values()
    feeds = {"x": to_input(picture, DECODER.preprocess)}
    assert np.array_equal(as_floats(output), ort.run(ort.session(model()), feeds)["y"])


def test_a_program_without_decoder_facts(path: Path) -> None:
    path.write_bytes(program_bytes(decoded=False))
    with pytest.raises(InputError) as caught:
        CppsimEngine(path)
    assert str(caught.value) == (
        f"{path}: found a program without decoder facts, expected one compiled from a model with them"
    )


def test_a_picture_of_another_size(path: Path) -> None:
    picture = np.zeros((2 * SIDE, SIDE, 3), np.uint8)
    with pytest.raises(InputError, match="found a model that onnxruntime cannot run"):
        CppsimEngine(path).infer(picture)


def test_the_board_needs_a_board(path: Path) -> None:
    with pytest.raises(UnsupportedError, match="--engine: pynq"):
        open_engine(path, "pynq")


def test_a_model_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model(), path)
    with pytest.raises(InputError, match=re.escape(f"{path}: found a damaged or different file (File is not a zip")):
        open_engine(path, "cppsim")


def test_what_the_dpu_cannot_do_runs_on_the_host(tmp_path: Path) -> None:
    coarse = model()
    pool = next(node for node in coarse.graph.node if node.op_type == "MaxPool")
    del pool.attribute[:]
    pool.attribute.extend([helper.make_attribute(name, [4, 4]) for name in ("kernel_shape", "strides")])
    del coarse.graph.output[0].type.tensor_type.shape.dim[2:]
    graph, _ = lower_proven(coarse, tmp_path)
    program = compile_graph(graph, BOARD, TINY)
    reasons = {s.name: s.reason for s in program.manifest.segments if s.kind == "host"}
    assert reasons["pooled"] == "stride 4, the DPU's limit is 3"
    assert simulate(program, CppsimCore(TINY), [FRAME]).bit_exact
