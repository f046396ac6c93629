"""Synthesizes SystemVerilog for an FPGA family and counts what each module takes, once per contents and Yosys.

Modules are synthesized one by one, equal ones once, and nothing is optimized across their borders: counts are a
little higher than a vendor's tool would get. Lookup tables are counted as cells: two small ones that share a site
count as two.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

from nibble.errors import NibbleError, UnsupportedError
from nibble.files import read_bytes, write_json
from nibble.paths import cache_folder
from nibble.synthesis import yosys
from nibble.synthesis.rtlil import instances, join_equal_modules, source_name

FAMILIES = {"xc7": "xc7", "xczu": "xcup"}
"""Yosys' name of a family, by how the names of its parts start."""
_STAGES = (
    *("begin", "prepare", "map_dsp", "coarse", "map_memory", "map_ffram", "fine", "map_cells", "map_ffs"),
    "map_luts",
)
# What synth_xilinx does in its stage map_luts, but with abc for abc9, which takes ten times as long.
_LUTS = (
    "opt_expr -mux_undef -noclkinv",
    "abc -lut 6",
    "clean",
    "xilinx_srl -fixed -minlen 3",
    "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6",
    "xilinx_dffopt",
    "opt_lut_ins -tech xilinx",
    "clean",
)
_COUNT = "tee -q -o stat.json stat -json"
_LUTRAM = {"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}
_KINDS = (
    (r"LUT[1-6]|INV", "lut"),
    (r"SRL16E|SRLC32E", "lutram"),
    (r"FD[RSCP]E|LD[CP]E", "ff"),
    (r"RAMB36E[12]", "bram36"),
    (r"RAMB18E[12]", "half"),
    (r"URAM288", "uram"),
    (r"DSP48E[12]", "dsp"),
    (r"CARRY[48]|MUXF[789]|\$scopeinfo", ""),
)
Cells = dict[str, dict[str, int]]
"""By module, how many cells of each type it has."""


@dataclass(frozen=True)
class Design:
    """A SystemVerilog module, its files (packages first), its parameters, and Yosys' name of an FPGA family."""

    top: str
    sources: tuple[Path, ...]
    parameters: tuple[tuple[str, int], ...]
    family: str


@dataclass(frozen=True)
class Use:
    """What is taken of an FPGA. `lutram` is the part of `lut` that is memory or shift register."""

    lut: int = 0
    lutram: int = 0
    ff: int = 0
    bram36: float = 0.0
    """36 Kbit blocks, halves counting 0.5."""
    uram: int = 0
    dsp: int = 0

    def plus(self, other: Use, times: int = 1) -> Use:
        """Return this and `times` the other."""
        mine, more = asdict(self), asdict(other)
        return Use(**{field.name: mine[field.name] + times * more[field.name] for field in fields(Use)})


@dataclass(frozen=True)
class Module:
    """A module by its name in the source, how often it is in the design, and what all of these take, without those
    inside them.
    """

    name: str
    instances: int
    use: Use


def family_of(part: str, where: str) -> str:
    """Return Yosys' name of the family of a part; raises UnsupportedError about `where` for another one."""
    for start, family in FAMILIES.items():
        if part.startswith(start):
            return family
    raise UnsupportedError(where, f"part {part} (parts {', '.join(FAMILIES)}... are)")


def synthesize(design: Design, track: Callable[[int, int], None] | None = None) -> list[Module]:
    """Return the modules of a design, the one with the most lookup tables first; from the cache when it holds them.

    `track` is told the steps done and those in all. Raises NibbleError when pyosys is missing, for what Yosys refuses,
    and when the cache folder cannot be written; InputError for a source that cannot be read.
    """
    target = cache_folder() / f"synthesis-{_key(design)}.json"
    if target.is_file():
        cells: Cells = json.loads(target.read_text(encoding="utf-8"))
    else:
        cells = _synthesize(design, track or (lambda done, total: None))
        write_json(target, cells)
    return _modules(cells, "\\" + design.top)


def netlist(design: Design, folder: Path, track: Callable[[int, int], None] | None = None) -> Path:
    """Synthesize the design and return its netlist as Yosys writes JSON, a file in `folder`; raises as `synthesize`."""
    _run(design, folder, ["blackbox =A:whitebox", "write_json netlist.json"], track or (lambda done, total: None))
    return folder / "netlist.json"


def total(modules: list[Module]) -> Use:
    """Return what all modules take together."""
    use = Use()
    for module in modules:
        use = use.plus(module.use)
    return use


def _key(design: Design) -> str:
    """Digest of everything the cells depend on."""
    digest = hashlib.sha256()
    for source in design.sources:
        digest.update(read_bytes(source, "a SystemVerilog file") + b"\0")
    digest.update(repr((yosys.version(), _reading(design), [*_synthesis(design), _COUNT])).encode())
    return digest.hexdigest()[:24]


def _synthesize(design: Design, track: Callable[[int, int], None]) -> Cells:
    with tempfile.TemporaryDirectory(prefix="nibble-") as name:
        folder = Path(name)
        _run(design, folder, [_COUNT], track)
        modules = json.loads((folder / "stat.json").read_text(encoding="utf-8"))["modules"]
    return {name: _cell_types(module["num_cells_by_type"], modules) for name, module in modules.items()}


def _run(design: Design, folder: Path, last: list[str], track: Callable[[int, int], None]) -> None:
    """Read, join and synthesize in `folder`, and end with the commands `last`."""
    read, synth = _reading(design), [*_synthesis(design), *last]
    steps = 0

    def done() -> None:
        nonlocal steps
        steps += 1
        track(steps, len(read) + len(synth))

    for source in design.sources:  # Yosys takes no names with spaces
        (folder / source.name).write_bytes(source.read_bytes())
    yosys.run(read, folder, design.top, done)
    elaborated = (folder / "read.il").read_text(encoding="utf-8")
    (folder / "joined.il").write_text(join_equal_modules(elaborated, design.top), encoding="utf-8")
    yosys.run(synth, folder, design.top, done)


def _cell_types(counts: dict[str, int], modules: dict[str, object]) -> dict[str, int]:
    """Give types that are modules their names as modules have them."""
    return {f"\\{kind}" if f"\\{kind}" in modules else kind: count for kind, count in counts.items()}


def _reading(design: Design) -> list[str]:
    parameters = " ".join(f"-G {name}={_literal(value)}" for name, value in design.parameters)
    files = " ".join(source.name for source in design.sources)
    return [f"read_slang --keep-hierarchy --top {design.top} {parameters} {files}", "write_rtlil read.il"]


def _literal(value: int) -> str:
    """Write a number as SystemVerilog: plain ones have 32 bits with the sign."""
    return str(value) if value < 1 << 31 else f"{value.bit_length()}'d{value}"


def _synthesis(design: Design) -> list[str]:
    stages = [_stage(design, begin, end) for begin, end in pairwise(_STAGES)]
    return ["read_rtlil joined.il", *stages, *_LUTS]


def _stage(design: Design, begin: str, end: str) -> str:
    """Return the command for a stage. Yosys uses registers and adders of a DSP48E1 alone; a DSP48E2 has them too."""
    family = "xc7" if begin == "map_dsp" else design.family
    large = " -uram" if family == "xcup" else ""
    return f"synth_xilinx -family {family}{large} -top {design.top} -noiopad -noclkbuf -run {begin}:{end}"


def _modules(cells: Cells, top: str) -> list[Module]:
    found: dict[str, Module] = {}
    for name, times in instances(cells, top).items():
        source = source_name(name)
        before = found.get(source, Module(source, 0, Use()))
        found[source] = Module(
            source, before.instances + times, before.use.plus(_use(source, cells[name], set(cells)), times)
        )
    return sorted(found.values(), key=lambda module: (-module.use.lut, module.name))


def _use(module: str, counts: dict[str, int], modules: set[str]) -> Use:
    """Return what the cells of a module take; raises NibbleError for a cell that nothing is known of."""
    use = Use()
    for kind, count in counts.items():
        if kind not in modules:
            use = use.plus(_cell(module, kind), count)
    return use


def _cell(module: str, kind: str) -> Use:
    if kind in _LUTRAM:
        return Use(lut=_LUTRAM[kind], lutram=_LUTRAM[kind])
    what = next((what for pattern, what in _KINDS if re.fullmatch(pattern, kind)), None)
    if what is None:
        raise NibbleError(f"{module}: Yosys left a cell {kind}, expected only cells of the FPGA")
    if what == "lutram":
        return Use(lut=1, lutram=1)
    return Use(bram36=0.5) if what == "half" else Use(**{what: 1}) if what else Use()
