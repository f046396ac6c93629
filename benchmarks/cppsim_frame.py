"""Times one frame on cppsim against onnxruntime on one thread, in turn, for the same quantized file.

python benchmarks/cppsim_frame.py Q.onnx [--board pynq-z2] [--runs 15]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime

from nibble import ort
from nibble.config import load_board, load_dpu
from nibble.console import print_table
from nibble.graph.feeds import random_feeds
from nibble.graph.lower import lower
from nibble.onnx_io import load_model
from nibble.simulate.engine import CppsimCore
from nibble.simulate.execute import Execution
from nibble.targets.dpu.compiler import compile_graph


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    model, board = load_model(options.model), load_board(options.board)
    graph = lower(model, options.model)
    program = compile_graph(graph, board, load_dpu(board.dpu))
    execution = Execution(program, CppsimCore(program.manifest.dpu))
    stock, golden = stock_session(options.model), ort.session(model, threads=1)
    (feeds,) = random_feeds(graph.input_tensors(), 1)
    works = {
        "onnxruntime as shipped": lambda: stock.run(None, feeds),
        "onnxruntime with golden settings": lambda: ort.run(golden, feeds),
        "cppsim": lambda: execution.run(feeds),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(options.runs):
        for name, work in works.items():
            times[name].append(milliseconds(work))
    reference, _, _ = times.values()
    rows = [(name, *figures(mine, reference)) for name, mine in times.items()]
    title = f"{options.model.name} on {program.manifest.dpu.name}, one thread, ms a frame"
    print_table(title, ("", "min", "median", "max", "median ratio to the first"), rows)


def stock_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def figures(times: list[float], reference: list[float]) -> list[str]:
    ratio = statistics.median(mine / other for mine, other in zip(times, reference, strict=True))
    return [*(f"{figure(times):.1f}" for figure in (min, statistics.median, max)), f"{ratio:.2f}"]


if __name__ == "__main__":
    main()
