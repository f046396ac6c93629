"""FINN's HLS layers as C++ programs on this CPU ("cppsim" in FINN's words), each compared with its Python execution.

No Vivado is needed, but finn-hlslib and the headers of ap_int, which nibble does not bring (docs/finn-cppsim.md).
FINN writes the program of each layer; compiling, running and comparing are done here, since FINN's own cppsim links
libraries of Vitis HLS and gives some layers' input (StreamingDataWidthConverter) as their output without running them.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from nibble.errors import CheckFailedError, InputError, NibbleError, UnsupportedError
from nibble.paths import HW, cache_folder
from nibble.simulate.dataflow import execute
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.layers import EXACT_FLOAT32
from nibble.targets.finn.passes import layer
from nibble.targets.finn.stream import Array

SHIM = HW / "sim" / "hls"
FLAGS = ("-std=c++17", "-O1", "-w")
LIBRARIES = ("-lz",)
GUIDE = "docs/finn-cppsim.md says how"
VECTORS = {"cpp_interface": "hls_vector"}
STEPS = {**VECTORS, "hls_style": "freerunning"}
STYLES = {
    "Pool_hls": VECTORS,
    "UpsampleNearestNeighbour_hls": STEPS,
    "DuplicateStreams_hls": STEPS,
    "StreamingConcat_hls": STEPS,
}
"""What FINN notes when it converts to these layers: streams of vectors, and functions that do one step a call."""
WINDOWED = ("VVAU_hls", "Pool_hls")
REVERSED = ("StreamingDataWidthConverter_hls",)
"""Layers whose program puts the elements of each word into the files in reverse: seen where words differ in width."""


@dataclass(frozen=True)
class Headers:
    """The folders of finn-hlslib and of ap_int.h; `own_streams`: hls_stream.h is ours, for want of Vitis HLS."""

    library: Path
    types: Path
    own_streams: bool

    @property
    def options(self) -> list[str]:
        """Options for g++. Ours come first: beside the ap_int.h of others lies an hls_stream.h that is not free."""
        from finn.templates import get_templates_folder

        own = [f"-I{SHIM}", "-include", str(SHIM / "hls_half.h")] if self.own_streams else []
        folders = (Path(get_templates_folder()) / "npy2stream", self.library, self.types)
        return [*own, *(f"-I{folder}" for folder in folders)]

    @property
    def version(self) -> str:
        """Digest of finn-hlslib."""
        digest = hashlib.sha256()
        for path in sorted([*self.library.glob("*.h"), *self.library.glob("*.hpp")]):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Checked:
    """A layer, the elements of its outputs that were compared, and how many of them differ."""

    layer: str
    operator: str
    elements: int
    mismatches: int


def find_headers() -> Headers:
    """Return the headers that FINN_DEPS, and HLS_HEADERS or XILINX_HLS name.

    Raises NibbleError saying what is missing, InputError when HLS_HEADERS names a folder without ap_int.h.
    """
    from finn.interface.settings import FINNSettings

    library = Path(os.environ.get("FINN_DEPS") or FINNSettings().finn_deps) / "finn-hlslib"
    if not (library / "bnn-library.h").is_file():
        raise NibbleError(f"cppsim of HLS layers needs finn-hlslib in {library}: finn deps update --batch fetches it")
    named = os.environ.get("HLS_HEADERS")
    if named:
        if not (Path(named) / "ap_int.h").is_file():
            raise InputError("HLS_HEADERS", f"{named} without ap_int.h", f"a folder with it ({GUIDE})")
        return Headers(library, Path(named), own_streams=True)
    vitis = Path(os.environ.get("XILINX_HLS", "")) / "include"
    if os.environ.get("XILINX_HLS") and (vitis / "ap_int.h").is_file():
        return Headers(library, vitis, own_streams=False)
    raise NibbleError(f"cppsim of HLS layers needs ap_int.h: set XILINX_HLS to Vitis HLS, or HLS_HEADERS ({GUIDE})")


def hls_layers(dataflow: Dataflow) -> list[NodeProto]:
    """Return the nodes that are HLS layers."""
    return [node for node in dataflow.model.graph.node if node.op_type.endswith("_hls")]


def tools() -> dict[str, str]:
    """Return what results depend on, as far as it is here: builds run the layers again when headers come or change."""
    try:
        return {"finn-hlslib": find_headers().version}
    except NibbleError:
        return {}


def verify(dataflow: Dataflow, inputs: Mapping[str, Array], folder: Path) -> dict[str, Any]:
    """Run all HLS layers and return what to report: how many there are, what was compared or why nothing was.

    Arguments and errors as those of `check_hls`; CheckFailedError also when a layer differs.
    """
    count = len(hls_layers(dataflow))
    if not count:
        return {"hls": 0}
    try:
        headers = find_headers()
    except NibbleError as error:
        return {"hls": count, "cppsim": f"not run: {error}"}
    checked = check_hls(dataflow, inputs, headers, folder)
    for found in checked:
        if found.mismatches:
            what = f"{found.mismatches} of {found.elements} elements"
            raise CheckFailedError(f"layer {found.layer}: {found.operator} in C++ differs from Python in {what}")
    return {"hls": count, "cppsim": "bit exact", "cppsim_elements": sum(found.elements for found in checked)}


def check_hls(
    dataflow: Dataflow, inputs: Mapping[str, Array], headers: Headers, folder: Path, *, names: Sequence[str] = ()
) -> list[Checked]:
    """Run the C++ of each HLS layer (those called `names`, if any) on the integers that it gets in Python execution.

    `inputs` are integers (1, H, W, C) of the input streams; programs and data go to `folder`/<layer>/. Raises
    NibbleError without g++ or when it fails, UnsupportedError for a layer that FINN writes no C++ for and for integers
    beyond 2**24, CheckFailedError for a program that stops.
    """
    values = execute(dataflow, inputs)
    model = copy.deepcopy(dataflow.model)
    nodes = [node for node in hls_layers(dataflow.with_model(model)) if not names or node.name in names]
    return [_Layer(model, node, folder / node.name).check(values, headers) for node in nodes]


@dataclass(frozen=True)
class _Layer:
    model: ModelWrapper
    node: NodeProto
    folder: Path

    def check(self, values: Mapping[str, Array], headers: Headers) -> Checked:
        source = self._write()
        program = _program(source, headers, self.node.name)
        self._feed(values)
        self._run(program)
        wrong = [self._mismatches(port, values[name]) for port, name in enumerate(self.node.output)]
        elements = sum(values[name].size for name in self.node.output)
        return Checked(self.node.name, self.node.op_type, elements, sum(wrong))

    def _write(self) -> Path:
        """Let FINN write the program and its constants; it then names its files relative to where it runs."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        folder = self.folder.resolve()
        op = layer(self.node)
        for key, value in {**STYLES.get(self.node.op_type, {}), "code_gen_dir_cppsim": str(folder)}.items():
            op.set_nodeattr(key, value)
        try:
            op.code_generation_cppsim(self.model)
        except Exception as error:  # what FINN raises is of no kind in particular
            raise UnsupportedError(self.node.name, f"{self.node.op_type} in cppsim ({_line(str(error))})") from error
        source = folder / f"execute_{self.node.op_type}.cpp"
        source.write_text(source.read_text().replace(f'"{folder}/', '"'))
        return source

    def _feed(self, values: Mapping[str, Array]) -> None:
        op = layer(self.node)
        for port, name in enumerate(self.node.input):
            constant = self.model.get_initializer(name)
            if constant is None:
                np.save(self.folder / f"input_{port}.npy", self._folded(op, port, values[name]))
            elif self.node.op_type == "MVAU_hls" and port == 1:
                op.make_weight_file(constant, "decoupled_npy", str(self.folder / "input_1.npy"))

    def _folded(self, op: Any, port: int, value: Array) -> Array:
        """Return what a stream carries: of windows, all places of some channels before the next channels."""
        if value.size and np.abs(value).max() > EXACT_FLOAT32:
            raise UnsupportedError(self.node.name, "cppsim, whose files are float32, of integers beyond 2^24")
        if self.node.op_type in WINDOWED:
            lanes, channels = op.get_nodeattr("PE"), op.get_nodeattr("Channels")
            value = value.reshape(*value.shape[:-1], -1, channels // lanes, lanes).swapaxes(-3, -2)
        return np.ascontiguousarray(self._words(value.reshape(op.get_folded_input_shape(port))), np.float32)

    def _words(self, folded: Array) -> Array:
        return folded[..., ::-1] if self.node.op_type in REVERSED else folded

    def _run(self, program: Path) -> None:
        done = subprocess.run([program], cwd=self.folder, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            why = _line(done.stderr) or f"exit code {done.returncode}"
            raise CheckFailedError(f"layer {self.node.name}: {self.node.op_type} in C++ stopped: {why}")

    def _mismatches(self, port: int, expected: Array) -> int:
        found = np.load(self.folder / f"output_{port}.npy")
        return int((self._words(found).reshape(expected.shape) != expected).sum())


def _program(source: Path, headers: Headers, name: str) -> Path:
    """Return the program of a layer, compiled when the cache does not hold it: known by all it is made of."""
    from finn.templates import get_templates_folder

    compiler = shutil.which("g++")
    if compiler is None:
        raise NibbleError(
            "cppsim needs the C++ compiler g++, which was not found: install it (Debian: apt install g++)"
        )
    files = [str(source), str(Path(get_templates_folder()) / "npy2stream" / "cnpy.cpp")]
    command = [compiler, *FLAGS, *headers.options, *files]
    text = _compile([*command, "-E", "-P"], source, name)
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    key = hashlib.sha256(text + version + " ".join(FLAGS).encode()).hexdigest()[:24]
    program = cache_folder() / f"hls-{key}"
    if not program.is_file():
        program.parent.mkdir(parents=True, exist_ok=True)
        built = source.with_name("program")
        _compile([*command, "-o", str(built), *LIBRARIES], source, name)
        arrived = program.with_name(f"{program.name}.{os.getpid()}")
        shutil.copy(built, arrived)
        arrived.replace(program)
    return program


def _compile(command: Sequence[str], source: Path, name: str) -> bytes:
    """Run g++ and return its output."""
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        log = source.with_suffix(".log")
        log.write_bytes(done.stderr)
        raise NibbleError(f"layer {name}: g++ could not compile FINN's C++ of it; its messages are in {log}")
    return done.stdout


def _line(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
