"""Places and routes a synthesized design on a Zynq-7000 with nextpnr-himbaechel (its microarchitecture xilinx).

The design stands alone in the part: the clock comes from the processor, and its ports hang on one long shift register,
so that no pins are needed and nothing of it is optimized away. Nothing is said of the clock's rate.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from nibble.errors import NibbleError, UnsupportedError
from nibble.synthesis.design import Design, netlist

PROGRAMS = ("nextpnr-himbaechel-xilinx", "nextpnr-himbaechel")
"""The program is called by its second name where it serves all microarchitectures."""
_KINDS = {
    "SLICE_LUTX": "LUT",
    "SLICE_FFX": "FF",
    "CARRY4": "CARRY4",
    "SELMUX2_1": "MUXF7/8",
    "RAMB18E1_RAMB18E1": "RAMB18",
    "RAMB36E1_RAMB36E1": "RAMB36",
    "DSP48E1_DSP48E1": "DSP",
}
_USE = re.compile(r"^Info:\s+(\w+):\s*(\d+)/\s*(\d+)\s+\d+%", re.MULTILINE)
_ERROR = re.compile(r"^ERROR: (.*)", re.MULTILINE)
Netlist = dict[str, Any]
"""As Yosys' write_json makes it."""


@dataclass(frozen=True)
class Routed:
    """What came of placing and routing: `reason` when it failed; of each resource how many were wanted, of how many."""

    reason: str | None
    use: dict[str, tuple[int, int]]

    @property
    def critical(self) -> str:
        """The resource of which the largest part was wanted."""
        return max(self.use, key=lambda kind: self.use[kind][0] / self.use[kind][1])


def program(part: str, where: str) -> str:
    """Return the path of nextpnr.

    Raises UnsupportedError about `where` for a part that it does not know, NibbleError when it is not installed.
    """
    if not part.startswith("xc7z"):
        raise UnsupportedError(where, f"part {part} for place and route (parts xc7z... are)")
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        raise NibbleError(f"--route needs {PROGRAMS[1]} with the microarchitecture xilinx: found none on the PATH")
    return found


def route(design: Design, clock: str, part: str, track: Callable[[int, int], None] | None = None) -> Routed:
    """Synthesize, place and route; `clock` is the clock's port. `track` is told the steps of the synthesis.

    Raises as `program` and `netlist`, and NibbleError for what stops nextpnr before it places.
    """
    tool = program(part, design.top)
    with tempfile.TemporaryDirectory(prefix="nibble-") as name:
        folder = Path(name)
        content = json.loads(netlist(design, folder, track).read_text(encoding="utf-8"))
        (folder / "framed.json").write_text(json.dumps(framed(content, design.top, clock)), encoding="utf-8")
        arguments = ("--device", part, "--json", "framed.json", "--timing-allow-fail", "--quiet", "--log", "log")
        status = subprocess.run([tool, *arguments], cwd=folder, capture_output=True, check=False).returncode
        log = folder / "log"
        return _outcome(status, log.read_text(encoding="utf-8", errors="replace") if log.is_file() else "", design.top)


def _outcome(status: int, log: str, top: str) -> Routed:
    use = {_KINDS[kind]: (int(used), int(has)) for kind, used, has in _USE.findall(log) if kind in _KINDS and int(has)}
    error = _ERROR.search(log)
    if not use or status < 0 or (status and not error):
        raise NibbleError(f"{top}: nextpnr: {error[1] if error else f'exit status {status}'}")
    return Routed(error[1] if status and error else None, use)


def framed(content: Netlist, top: str, clock: str) -> Netlist:
    """Return the netlist with a new top around module `top`: processor, clock buffer and shift register."""
    modules = {name: _plain(module) for name, module in content["modules"].items() if not _is_box(module)}
    modules["frame"] = _frame(modules[top]["ports"], top, clock)
    return {**content, "modules": modules}


def _is_box(module: Netlist) -> bool:
    return "blackbox" in module["attributes"]


def _plain(module: Netlist) -> Netlist:
    """Leave out what is not hardware."""
    cells = {name: cell for name, cell in module["cells"].items() if cell["type"] != "$scopeinfo"}
    attributes = {key: value for key, value in module["attributes"].items() if key != "top"}
    return {**module, "attributes": attributes, "cells": cells}


def _frame(ports: Netlist, top: str, clock: str) -> Netlist:
    """Return the new top: inputs are places of a shift register; behind them, outputs are added to it bit by bit."""
    nets = count(2)
    raw, running, previous, *others = (next(nets) for _ in range(3 + 3 + 63))
    cells = {"buffer": _cell("BUFG", {"I": [raw]}, {"O": [running]})}
    wires: dict[str, list[int]] = {name: [next(nets) for _ in port["bits"]] for name, port in ports.items()}
    wires[clock] = [running]
    processor = {"FCLKCLK": [raw, *others[:3]], "EMIOGPIOO": [previous, *others[3:]]}

    def register(name: str, bit: int, held: int) -> None:
        cells[name] = _cell("FDRE", {"C": [running], "CE": ["1"], "R": ["0"], "D": [bit]}, {"Q": [held]}, INIT="0")

    for name, port in ports.items():
        if port["direction"] == "input" and name != clock:
            for index, wire in enumerate(wires[name]):
                register(f"{name}{index}", previous, wire)
                previous = wire
    for name, port in ports.items():
        if port["direction"] == "output":
            for index, wire in enumerate(wires[name]):
                added, held = next(nets), next(nets)
                cells[f"{name}{index}_add"] = _cell(
                    "LUT2", {"I0": [previous], "I1": [wire]}, {"O": [added]}, INIT="0110"
                )
                register(f"{name}{index}", added, held)
                previous = held
    cells["processor"] = _cell("PS7", {"EMIOGPIOI": [previous, *["0"] * 63]}, processor)
    directions = {name: port["direction"] for name, port in ports.items()}
    cells["core"] = {**_cell(top, {}, {}), "port_directions": directions, "connections": wires}
    return {"attributes": {"top": f"{1:032b}"}, "ports": {}, "cells": cells, "netnames": {}}


def _cell(kind: str, inputs: Netlist, outputs: Netlist, **parameters: str) -> Netlist:
    directions = {**dict.fromkeys(inputs, "input"), **dict.fromkeys(outputs, "output")}
    common = {"hide_name": 0, "type": kind, "parameters": parameters, "attributes": {}}
    return {**common, "port_directions": directions, "connections": {**inputs, **outputs}}
