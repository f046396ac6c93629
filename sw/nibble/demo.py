"""The main job on the embedded default: the face detector of the package on a picture that matplotlib ships.

verify -> compile -> simulate -> detect and draw, on the PYNQ-Z2's hardware size. No network, nothing written outside
of the output folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nibble.config import load_board, load_dpu
from nibble.engines import open_engine
from nibble.errors import CheckFailedError, NibbleError
from nibble.evaluate.detector import detect
from nibble.graph.prove import lower_proven
from nibble.graph.verify import verify_file
from nibble.onnx_io import load_model
from nibble.paths import EMBEDDED_MODELS
from nibble.simulate.check import frames_of, simulate
from nibble.simulate.engine import CppsimCore
from nibble.targets.dpu.compiler import compile_graph
from nibble.targets.dpu.program import load_program, save_program
from nibble.yolo.draw import draw, save_jpeg
from nibble.yolo.letterbox import read_picture
from nibble.yolo.postprocess import Thresholds

MODEL = EMBEDDED_MODELS / "lpyolo-faces-4w4a.onnx"
FACTS = MODEL.with_suffix(".json")
BOARD = "pynq-z2"
THRESHOLDS = Thresholds(0.5, 0.45)


@dataclass(frozen=True)
class Step:
    """One step: its name, what came out, seconds."""

    name: str
    result: str
    seconds: float


def portrait() -> Path:
    """Return a picture of Grace Hopper, a work of the US Navy in the public domain, from matplotlib's sample data.

    Raises NibbleError when matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise NibbleError("the demo's picture comes with matplotlib: pip install 'nibble-dpu[report]'") from error
    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def run_demo(output: Path) -> Iterator[Step]:
    """Yield the steps as they are done. Raises CheckFailedError when a result is not exact, or no face is found."""
    picture, program = portrait(), output / f"{MODEL.stem}.dpu"
    yield Step("model", _describe(), 0.0)
    for name, work in (
        ("verify", _verify),
        ("compile", lambda: _compile(program)),
        ("simulate", lambda: _simulate(program, picture)),
        ("detect", lambda: _detect(program, picture, output)),
    ):
        yield _timed(name, work)


def _timed(name: str, work: Callable[[], str]) -> Step:
    started = time.perf_counter()
    return Step(name, work(), time.perf_counter() - started)


def _describe() -> str:
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    return f"{MODEL.name}, {MODEL.stat().st_size / 1024:.0f} KiB, AP50 {facts['ap50']:.3f} on faces/val"


def _verify() -> str:
    result = verify_file(MODEL, None, 1)
    if not result.holds:
        raise CheckFailedError(f"{MODEL.name}: {len(result.unproven)} unproven, {result.mismatches} mismatches")
    return f"{result.proven} of {result.nodes} nodes proven, {result.elements_compared:,} elements equal onnxruntime's"


def _compile(program: Path) -> str:
    board = load_board(BOARD)
    graph, _ = lower_proven(load_model(MODEL), MODEL)
    compiled = compile_graph(graph, board, load_dpu(board.dpu))
    save_program(compiled, program)
    cycles = compiled.manifest.predicted_cycles
    fps = board.fps(cycles)
    return f"{compiled.manifest.instructions} instructions, {cycles:,} cycles predicted: {fps:.0f} frames/s on {BOARD}"


def _simulate(path: Path, picture: Path) -> str:
    program = load_program(path)
    result = simulate(program, CppsimCore(program.manifest.dpu), frames_of(program.golden, path, [picture]))
    if not result.bit_exact:
        raise CheckFailedError(f"{path}: {sum(result.mismatches.values())} elements differ from onnxruntime")
    return f"{result.tensors_compared} tensors, {result.elements_compared:,} elements, bit-exact"


def _detect(program: Path, picture: Path, output: Path) -> str:
    engine = open_engine(program, "cppsim")
    pixels = read_picture(picture)
    found, _ = detect(engine, pixels, THRESHOLDS)
    if not found.scores.size:
        raise CheckFailedError(f"{picture.name}: no face found")
    drawn = output / picture.name
    save_jpeg(drawn, draw(pixels, found, engine.decoder.classes))
    scores = ", ".join(f"{score:.2f}" for score in found.scores)
    return f"{found.scores.size} face{'s' * (found.scores.size > 1)} ({scores}) drawn in {drawn}"
