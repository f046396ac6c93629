"""The whole network as one SystemVerilog design: a top that wires the generated layers, and all files it needs.

FINN stitches with Vivado's IP integrator; this top does the same in plain SystemVerilog, so that any simulator takes
it. Ports: ap_clk, ap_rst_n, one AXI4-Stream for each stream at the border (in0_V, in1_V, ..., out0_V, ...). Memory
contents are named relative to the folder that the design is written to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from onnx import NodeProto

from nibble.paths import HW
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.passes import layer, rtl_only
from nibble.targets.finn.rtl import LIMIT, MOST, TOP, Port, Rtl

FIFO = "StreamingFIFO_rtl"
GAUGE = HW / "sim" / "fifo_gauge.sv"
INPUT = re.compile(r"^\s*(?:\(\*.*\*\)\s*)?input\b.*?(\w+)\s*,?\s*(?://.*)?$", re.MULTILINE)
"""Name of an input port in the header of a generated Verilog module, one port a line."""


def stitch(dataflow: Dataflow, where: str, *, gauge: bool = False) -> Rtl:
    """Return the design of a dataflow after `passes.Generate`; raises UnsupportedError when a layer has no RTL.

    With `gauge`, the depth of each FIFO is an input of the top, `<fifo>_limit` (0: unbounded), and the most beats that
    it ever held an output, `<fifo>_most`.
    """
    rtl_only(dataflow, where)
    top = _Top(dataflow, gauge)
    files = dict(_files(dataflow, gauge))
    files[f"{TOP}.sv"] = top.text()
    ordered = sorted(files, key=_order)
    return Rtl({name: files[name] for name in ordered}, top.inputs, top.outputs, tuple(top.gauged))


def _order(name: str) -> tuple[bool, bool, str]:
    return name.endswith(".dat"), not name.endswith("_pkg.sv"), name


def _files(dataflow: Dataflow, gauge: bool) -> Iterator[tuple[str, str]]:
    """Yield every file of every layer; what several layers share comes once."""
    for node in dataflow.model.graph.node:
        if gauge and node.op_type == FIFO:
            yield GAUGE.name, GAUGE.read_text()
            continue
        op = layer(node)
        folder = _code(node)
        for path in map(Path, [*op.get_rtl_file_list(abspath=True), *_memory_streamer(node)]):
            yield path.name, _prepared(path, folder, node.name)
        for path in sorted(folder.glob("*.dat")):
            yield f"{node.name}__{path.name}", path.read_text()


def _memory_streamer(node: NodeProto) -> list[Path]:
    """Return the files that feed the weights of a matrix product."""
    if not node.op_type.startswith(("MVAU", "VVAU")):
        return []
    from finn.util.settings import get_settings

    library = Path(get_settings().finn_rtllib)
    folder = _code(node)
    shared = ["axi/hdl/axilite.sv", "memstream/hdl/memstream_axi.sv", "memstream/hdl/memstream.sv"]
    return [folder / f"{node.name}_memstream_wrapper.v", *(library / name for name in shared)]


def _prepared(path: Path, folder: Path, name: str) -> str:
    """Return a source; memory contents of the layer called `name` are named after it too."""
    text = path.read_text()
    return text.replace('"./', f'"./{name}__') if folder in path.parents else text


class _Top:
    def __init__(self, dataflow: Dataflow, gauge: bool) -> None:
        self.model, self.gauge = dataflow.model, gauge
        self.nodes = list(self.model.graph.node)
        self.inputs = tuple(self._border(f"in{i}_V", s.name) for i, s in enumerate(dataflow.inputs))
        self.outputs = tuple(self._border(f"out{i}_V", s.name) for i, s in enumerate(dataflow.outputs))
        self.nets = {port.stream: port.name for port in (*self.inputs, *self.outputs)}
        self.gauged = [node.name for node in self.nodes if gauge and node.op_type == FIFO]

    def _border(self, name: str, stream: str) -> Port:
        producer, consumer = self.model.find_producer(stream), self.model.find_consumer(stream)
        node = producer or consumer
        op = layer(node)
        folded = op.get_folded_output_shape() if producer else op.get_folded_input_shape()
        kind = self.model.get_tensor_datatype(stream)
        bits = op.get_outstream_width_padded() if producer else op.get_instream_width_padded()
        return Port(
            name,
            bits,
            int(folded[-1]),
            kind.bitwidth(),
            kind.signed(),
            stream,
            tuple(self.model.get_tensor_shape(stream)),
        )

    def text(self) -> str:
        ports = ["input ap_clk", "input ap_rst_n"]
        for port in self.inputs:
            ports += [
                f"input [{port.bits - 1}:0] {port.name}_TDATA",
                f"input {port.name}_TVALID",
                f"output {port.name}_TREADY",
            ]
        for port in self.outputs:
            ports += [
                f"output [{port.bits - 1}:0] {port.name}_TDATA",
                f"output {port.name}_TVALID",
                f"input {port.name}_TREADY",
            ]
        ports += [
            f"{way} [31:0] {name}{end}" for name in self.gauged for way, end in (("input", LIMIT), ("output", MOST))
        ]
        body = [line for node in self.nodes for line in self._instance(node)]
        return f"module {TOP} (\n  " + ",\n  ".join(ports) + "\n);\n" + "\n".join(body) + "\nendmodule\n"

    def _instance(self, node: NodeProto) -> Iterator[str]:
        op = layer(node)
        wires = [(f"in{i}_V", name) for i, name in enumerate(self._read(node))]
        written = [(f"out{i}_V", name) for i, name in enumerate(node.output)]
        for i, (_, name) in enumerate(written):
            if name not in self.nets:
                self.nets[name] = f"s_{node.name}_{i}"
                yield f"wire [{op.get_outstream_width_padded(i) - 1}:0] {self.nets[name]}_TDATA;"
                yield f"wire {self.nets[name]}_TVALID, {self.nets[name]}_TREADY;"
        pins = [".ap_clk(ap_clk)", ".ap_rst_n(ap_rst_n)"]
        for port, name in [*wires, *written]:
            net = self._net(name)
            pins += [f".{port}_{signal}({net}_{signal})" for signal in ("TDATA", "TVALID", "TREADY")]
        if node.name in self.gauged:
            pins += [f".limit({node.name}{LIMIT})", f".most({node.name}{MOST})"]
            yield f"FifoGauge #(.Bits({op.get_outstream_width_padded(0)})) {node.name}_i ({', '.join(pins)});"
            return
        if node.op_type.startswith(("MVAU", "VVAU")):
            yield from self._weights(node, pins)
        yield _instance(op.get_nodeattr("gen_top_module"), f"{node.name}_i", pins, _wrapper(node))

    def _read(self, node: NodeProto) -> list[str]:
        return [name for name in node.input if self.model.get_initializer(name) is None]

    def _net(self, name: str) -> str:
        """Return the wires of a stream; the nodes are in order of execution, so its producer was first."""
        return self.nets[name]

    def _weights(self, node: NodeProto, pins: list[str]) -> Iterator[str]:
        net = f"w_{node.name}"
        yield f"wire [{layer(node).get_instream_width_padded(1) - 1}:0] {net}_TDATA;"
        yield f"wire {net}_TVALID, {net}_TREADY;"
        pins += [f".in1_V_{signal}({net}_{signal})" for signal in ("TDATA", "TVALID", "TREADY")]
        pins.append(".ap_clk2x(ap_clk)")
        streamed = [f".m_axis_0_{signal}({net}_{signal.upper()})" for signal in ("tdata", "tvalid", "tready")]
        clocks = [".ap_clk(ap_clk)", ".ap_clk2x(ap_clk)", ".ap_rst_n(ap_rst_n)"]
        module = f"{node.name}_memstream_wrapper"
        yield _instance(module, f"{net}_i", clocks + streamed, _code(node) / f"{module}.v")


def _code(node: NodeProto) -> Path:
    return Path(layer(node).get_nodeattr("code_gen_dir_ipgen"))


def _wrapper(node: NodeProto) -> Path:
    """Return the file that declares the module of a layer."""
    module = layer(node).get_nodeattr("gen_top_module")
    named = [_code(node) / f"{module}{ending}" for ending in ("_wrapper.v", ".v")]
    return next(path for path in named if path.is_file())


def _instance(module: str, name: str, pins: list[str], declared: Path) -> str:
    """Return an instance whose inputs without a pin are 0: AXI4-Lite ports for runtime changes, not used here."""
    used = {pin[1 : pin.index("(")] for pin in pins}
    unused = [port for port in INPUT.findall(declared.read_text()) if port not in used]
    return f"{module} {name} ({', '.join(pins + [f'.{port}(0)' for port in unused])});"
