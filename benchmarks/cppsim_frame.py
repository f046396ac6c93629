"""Times one frame on cppsim against onnxruntime on one thread, in turn, for the same quantized file.

    python benchmarks/cppsim_frame.py Q.onnx [--board pynq-z2] [--runs 15]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

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
    golden = ort.session(model, threads=1)
    (feeds,) = random_feeds(graph.input_tensors(), 1)
    works = {"onnxruntime, 1 thread": lambda: ort.run(golden, feeds), "cppsim, 1 thread": lambda: execution.run(feeds)}
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(options.runs):
        for name, work in works.items():
            times[name].append(milliseconds(work))
    rows = [(n, *(f"{f(t):.1f}" for f in (min, statistics.median, max))) for n, t in times.items()]
    print_table(f"{options.model.name} on {program.manifest.dpu.name}, ms a frame", ("", "min", "median", "max"), rows)
    reference, ours = times.values()
    print(f"ratio, median of pairs: {statistics.median(b / a for a, b in zip(reference, ours, strict=True)):.2f}")


if __name__ == "__main__":
    main()
