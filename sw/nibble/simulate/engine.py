"""cppsim as a core for programs, and as an engine for pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from nibble import onnx_io
from nibble.config import DpuConfig
from nibble.errors import CheckFailedError, InputError
from nibble.simulate.cppsim import Cppsim, Kernel
from nibble.simulate.execute import Execution
from nibble.targets.dpu.memory import Memory
from nibble.targets.dpu.program import load_program
from nibble.yolo.decode import Outputs
from nibble.yolo.letterbox import Pixels, to_input
from nibble.yolo.spec import METADATA_KEY


class CppsimCore:
    """The C++ model of `dpu` as a core (nibble.simulate.execute.Core)."""

    def __init__(self, dpu: DpuConfig, kernel: Kernel = "fast") -> None:
        self._model = Cppsim(dpu, kernel)

    def run_segment(self, memory: Memory, start: int, stops: Mapping[int, Callable[[], None]]) -> None:
        """Run from byte `start`; raises CheckFailedError when the model reports an error."""
        result = self._model.run(memory, start, stops=stops)
        if result.error != "none":
            raise CheckFailedError(f"cppsim: error {result.error} at the instruction at byte {result.error_address:#x}")


class CppsimEngine:
    """Pictures through a program on cppsim; its raw heads leave as integers."""

    name = "cppsim"

    def __init__(self, path: Path) -> None:
        """Open the program at `path`; raises InputError when it is none, or carries no decoder facts."""
        program = load_program(path)
        if METADATA_KEY not in program.manifest.metadata:
            raise InputError(path, "a program without decoder facts", "one compiled from a model with them")
        self.decoder = onnx_io.read_decoder(onnx.load_model_from_string(program.golden), path)
        self._input = program.manifest.inputs[0]
        self._execution = Execution(program, CppsimCore(program.manifest.dpu))

    def infer(self, picture: Pixels) -> Outputs:
        """Return the outputs for a letterboxed picture, uint8 (H, W, 3), RGB."""
        return self._execution.run({self._input: to_input(picture, self.decoder.preprocess)})
