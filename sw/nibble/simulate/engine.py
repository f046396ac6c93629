"""cppsim as a core for programs; cppsim and rtlsim as engines for pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from nibble import onnx_io
from nibble.config import DpuConfig
from nibble.errors import CheckFailedError, InputError
from nibble.simulate.cppsim import Cppsim, Kernel
from nibble.simulate.dpu_rtlsim import RtlsimCore
from nibble.simulate.execute import Core, Execution
from nibble.targets.dpu.memory import Memory
from nibble.targets.dpu.program import Manifest, load_program
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


class _ProgramEngine:
    """Pictures through a program on a core; its raw heads leave as integers."""

    def __init__(self, path: Path, core: Callable[[Manifest], Core]) -> None:
        """Open the program at `path`; raises InputError when it is none, or carries no decoder facts."""
        program = load_program(path)
        if METADATA_KEY not in program.manifest.metadata:
            raise InputError(path, "a program without decoder facts", "one compiled from a model with them")
        self.decoder = onnx_io.read_decoder(onnx.load_model_from_string(program.golden), path)
        self._input = program.manifest.inputs[0]
        self._execution = Execution(program, core(program.manifest))

    def infer(self, picture: Pixels) -> Outputs:
        """Return the outputs for a letterboxed picture, uint8 (H, W, 3), RGB."""
        return self._execution.run({self._input: to_input(picture, self.decoder.preprocess)})


class CppsimEngine(_ProgramEngine):
    """Pictures through a program on the C++ model."""

    name = "cppsim"

    def __init__(self, path: Path) -> None:
        """Open the program at `path`; raises InputError when it is none, or carries no decoder facts."""
        super().__init__(path, lambda manifest: CppsimCore(manifest.dpu))


class RtlsimEngine(_ProgramEngine):
    """Pictures through a program on the Verilated core, with the DDR of the program's board."""

    name = "rtlsim"

    def __init__(self, path: Path) -> None:
        """Open the program at `path` as CppsimEngine does, and build the core; raises NibbleError when that fails."""
        super().__init__(path, lambda manifest: RtlsimCore(manifest.dpu, manifest.board))
