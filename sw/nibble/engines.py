"""The ways to run a network: one small interface, so that detection and evaluation do not care which one computes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from nibble.errors import InputError, UnsupportedError
from nibble.onnx_io import load_model, read_decoder
from nibble.ort import run, session
from nibble.yolo.decode import Outputs
from nibble.yolo.letterbox import Pixels, to_input
from nibble.yolo.spec import Decoder

ENGINES = ("onnxruntime", "cppsim", "rtlsim", "pynq")
COMPILED = {".dpu": ("a DPU program", "cppsim"), ".finn": ("a FINN network", "rtlsim")}
"""Files that are no ONNX models, by ending: what they are and the engine for them."""


class Engine(Protocol):
    """Runs one network on one picture at a time."""

    @property
    def name(self) -> str:
        """One of ENGINES."""

    @property
    def decoder(self) -> Decoder:
        """The decoder facts of the network."""

    def infer(self, picture: Pixels) -> Outputs:
        """Return the outputs for a letterboxed picture, uint8 (H, W, 3), RGB."""


class OnnxruntimeEngine:
    """The golden reference: onnxruntime on the CPU, `threads` of them (0: all cores)."""

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Open an ONNX model that carries decoder facts; raises InputError naming `path` when it cannot be run."""
        model = load_model(path)
        self.decoder = read_decoder(model, path)
        try:
            self._session = session(model, threads)
        except Exception as error:  # onnxruntime's exceptions share no other base
            raise InputError(path, _first_line(error), "a model that onnxruntime runs") from error
        inputs = [(entry.type, entry.shape) for entry in self._session.get_inputs()]
        expected = "tensor(float)", [1, 3, self.decoder.preprocess.height, self.decoder.preprocess.width]
        if inputs != [expected]:
            found = "; ".join(f"{kind} {shape}" for kind, shape in inputs)
            raise InputError(path, f"inputs {found or 'none'}", f"one {expected[0]} {expected[1]}, as its decoder says")
        self._input = self._session.get_inputs()[0].name
        self._path = path

    def infer(self, picture: Pixels) -> Outputs:
        """Return the outputs for a letterboxed picture, uint8 (H, W, 3), RGB."""
        try:
            return run(self._session, {self._input: to_input(picture, self.decoder.preprocess)})
        except Exception as error:  # as above
            raise InputError(self._path, _first_line(error), "a model that onnxruntime runs") from error


def open_engine(path: Path, engine: str, threads: int = 0) -> Engine:
    """Open `path` with the engine named; raises InputError on another name or a file that it cannot run."""
    if engine not in ENGINES:
        raise InputError("--engine", engine, f"one of {', '.join(ENGINES)}")
    if engine == "onnxruntime":
        if path.suffix in COMPILED:
            what, other = COMPILED[path.suffix]
            raise InputError(path, what, f"an ONNX model, or --engine {other}")
        return OnnxruntimeEngine(path, threads)
    if engine == "cppsim":
        from nibble.simulate.engine import CppsimEngine

        return CppsimEngine(path)
    if engine == "rtlsim":
        return _rtlsim(path)
    raise UnsupportedError("--engine", f"{engine} (this version has onnxruntime, cppsim and rtlsim)")


def _rtlsim(path: Path) -> Engine:
    if path.suffix == ".finn":
        from nibble.simulate.network import NetworkEngine

        return NetworkEngine(path)
    from nibble.simulate.engine import RtlsimEngine

    return RtlsimEngine(path)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
