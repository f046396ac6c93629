"""The Verilog module that stands for one node of a FINN graph: FINN's ports around one module of hw/finn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CLOCK = 'X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 ap_clk CLK"'
_RESET = 'X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW"'
_GLOBAL = {"ap_clk": "ap_clk", "ap_rst_n": "ap_rst_n"}


@dataclass(frozen=True)
class Port:
    """An AXI4-Stream port: its `name`, such as in0_V, and the width of its TDATA in `bits`, whole bytes."""

    name: str
    bits: int


@dataclass(frozen=True)
class Instance:
    """What stands inside: `module`, values of its parameters, its ports but clock and reset, and further lines."""

    module: str
    parameters: Mapping[str, str]
    connections: Mapping[str, str]
    lines: Sequence[str] = ()


def straight(*names: str) -> dict[str, str]:
    """Return the connections of a module that has the streams `names` itself."""
    return {f"{name}_{wire}": f"{name}_{wire}" for name in names for wire in ("TDATA", "TVALID", "TREADY")}


def packed(values: Sequence[int], bits: int = 32) -> str:
    """Return a Verilog constant of `values`, the first in the lowest `bits`."""
    return joined([f"{bits}'d{value}" for value in values])


def joined(parts: Sequence[str]) -> str:
    """Return a Verilog concatenation, the first of `parts` in the lowest bits."""
    return "{" + ", ".join(reversed(parts)) + "}"


def extended(name: str, bits: int, width: int) -> str:
    """Return signal `name` of `bits`, with zeros above up to `width`."""
    return name if width == bits else f"{{{width - bits}'d0, {name}}}"


def wrapper(name: str, inputs: Sequence[Port], outputs: Sequence[Port], instance: Instance) -> str:
    """Return the text of module `name`; the attributes tell Vivado's block design which ports belong together."""
    buses = ":".join(port.name for port in (*inputs, *outputs))
    associated = f'X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET ap_rst_n"'
    ports = [f"(* {_CLOCK}, {associated} *)\n  input wire ap_clk", f"(* {_RESET} *)\n  input wire ap_rst_n"]
    ports += [line for port in inputs for line in _port(port, "input", "output")]
    ports += [line for port in outputs for line in _port(port, "output", "input")]
    return (
        f"module {name} (\n  {_list(ports)}\n);\n\n"
        + "".join(f"  {line}\n" for line in instance.lines)
        + f"  {instance.module} #(\n    {_list(_named(instance.parameters), 4)}\n  ) core (\n"
        + f"    {_list(_named({**_GLOBAL, **instance.connections}), 4)}\n  );\n\nendmodule\n"
    )


def _port(port: Port, forward: str, backward: str) -> list[str]:
    return [
        f"{forward} wire [{port.bits - 1}:0] {port.name}_TDATA",
        f"{forward} wire {port.name}_TVALID",
        f"{backward} wire {port.name}_TREADY",
    ]


def _named(values: Mapping[str, str]) -> list[str]:
    return [f".{name}({value})" for name, value in values.items()]


def _list(items: Sequence[str], indent: int = 2) -> str:
    return (",\n" + " " * indent).join(items)
