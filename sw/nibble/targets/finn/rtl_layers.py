"""Layers that FINN+ 1.6.1 has only as HLS, in RTL: max-pool, nearest upsampling, stream duplication, concatenation.

After `register`, FINN's SpecializeLayers chooses these, since it takes RTL wherever an RTL variant exists. What a layer
computes, its streams, its folded shapes and its cycles are those of FINN's abstract layer, which each class inherits;
each of them moves one beat a cycle, so FINN's figure for the cycles is right but for one or two cycles of latency.
FINN's SetFolding knows the HLS variants by name and leaves these as they are; `folding` folds them.
Import this module only after `library.open_finn`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import ceil, prod
from pathlib import Path
from typing import Any

from finn.custom_op.fpgadataflow import rtl
from finn.custom_op.fpgadataflow.concat import StreamingConcat
from finn.custom_op.fpgadataflow.duplicatestreams import DuplicateStreams
from finn.custom_op.fpgadataflow.pool import Pool
from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend
from finn.custom_op.fpgadataflow.upsampler import UpsampleNearestNeighbour
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import add_op_to_domain

from nibble.errors import InputError, UnsupportedError
from nibble.files import write_bytes
from nibble.paths import HW
from nibble.targets.finn.library import LAYERS
from nibble.targets.finn.rtl_wrapper import Instance, Port, extended, joined, packed, straight, wrapper

_RAM_SHAPES = ((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512))
"""Width and depth of a block RAM of 18 Kibit (AMD UG473 and UG573)."""
_LUT_RAM_DEPTH = 64
_LUT_RAM_BITS = 2048


class _Layer(RTLBackend):  # type: ignore[misc]
    """What the four have in common: a generated Verilog module around one module of hw/finn."""

    @abstractmethod
    def instance(self) -> Instance:
        """Return the module of hw/finn with its parameters; raises what the layer cannot do."""

    def generate_hdl(self, model: ModelWrapper, fpgapart: str, clk: float) -> None:
        """Write <node name>.v into code_gen_dir_ipgen.

        Raises UnsupportedError or InputError for attributes that the RTL cannot do.
        """
        top = self.get_verilog_top_module_name()
        instance = self.instance()
        text = wrapper(top, self.ports("s_axis"), self.ports("m_axis"), instance)
        folder = self.get_nodeattr("code_gen_dir_ipgen")
        write_bytes(Path(folder) / f"{top}.v", text.encode())
        self.set_nodeattr("gen_top_module", top)
        self.set_nodeattr("ipgen_path", folder)
        self.set_nodeattr("ip_path", folder)

    def ports(self, kind: str) -> list[Port]:
        """Return the ports of `kind`, "s_axis" (inputs) or "m_axis" (outputs)."""
        return [Port(name, bits) for name, bits in self.get_verilog_top_module_intf_names()[kind]]

    def get_rtl_file_list(self, abspath: bool = False) -> list[str]:
        """Return the module of hw/finn and the generated file."""
        files = [HW / "finn" / f"{self.instance().module}.sv"]
        files.append(Path(self.get_nodeattr("code_gen_dir_ipgen")) / f"{self.get_nodeattr('gen_top_module')}.v")
        return [str(file) if abspath else file.name for file in files]

    def code_generation_ipi(self) -> list[str]:
        """Return the Tcl lines that put this node into a Vivado block design."""
        files = [f"add_files -norecurse {file}" for file in self.get_rtl_file_list(abspath=True)]
        top = self.get_nodeattr("gen_top_module")
        return [*files, f"create_bd_cell -type module -reference {top} {self.onnx_node.name}"]

    def execute_node(self, context: dict[str, Any], graph: Any) -> None:
        """Compute by FINN's Python; in mode "rtlsim" by FINN's own simulation of the RTL, which needs Vivado."""
        if self.get_nodeattr("exec_mode") == "rtlsim":
            super().execute_node(context, graph)
        else:
            super(RTLBackend, self).execute_node(context, graph)

    def folds(self, channels: int, attribute: str) -> int:
        """Return the beats of a pixel with `channels`; raises InputError unless `attribute` divides them."""
        lanes = int(self.get_nodeattr(attribute))
        if lanes < 1 or channels % lanes:
            raise InputError(self.onnx_node.name, f"{attribute} {lanes}", f"a divisor of its {channels} channels")
        return channels // lanes

    def require_integers(self, kinds: Sequence[Any]) -> None:
        """Raise UnsupportedError unless all of `kinds` are two's complement or unsigned integers."""
        for kind in kinds:
            if not kind.is_integer() or kind == DataType["BIPOLAR"]:
                raise UnsupportedError(self.onnx_node.name, f"RTL for elements of type {kind.name}")


class Pool_rtl(_Layer, Pool):  # type: ignore[misc]  # noqa: N801 (FINN finds layers by these names)
    """Max-pooling after a depthwise sliding window: hw/finn/pool_max.sv."""

    def instance(self) -> Instance:
        """Return pool_max; raises UnsupportedError for the other functions of Pool."""
        function = self.get_nodeattr("Function")
        if function != "MaxPool":
            raise UnsupportedError(self.onnx_node.name, f"Function {function} in RTL (preferred_impl_style hls is)")
        kind = self.get_input_datatype()
        self.require_integers([kind])
        self.folds(self.get_nodeattr("Channels"), "PE")
        parameters = {
            "Kernel": prod(self.get_nodeattr("KernelSize")),
            "Lanes": self.get_nodeattr("PE"),
            "Bits": kind.bitwidth(),
            "Signed": int(kind.signed()),
        }
        return Instance("pool_max", _texts(parameters), straight("in0_V", "out0_V"))

    def lut_estimation(self, fpgapart: str) -> int:
        """One a bit for comparison and enable, 8 for control.

        Yosys 0.70, synth_xilinx -family xc7, Kernel 4: 12 for 1 x 8 bits, 40 for 8 x 4, 62 for 8 x 8, 70 for 16 x 4.
        """
        return int(self.get_instream_width()) + 8


class UpsampleNearestNeighbour_rtl(_Layer, UpsampleNearestNeighbour):  # type: ignore[misc]  # noqa: N801
    """Nearest upsampling by whole factors: hw/finn/upsample.sv."""

    def instance(self) -> Instance:
        """Return upsample; raises UnsupportedError for factors that are not whole."""
        parameters = {
            "Columns": self.get_nodeattr("WI"),
            "Beats": self.folds(self.get_nodeattr("NumChannels"), "SIMD"),
            "Bits": self.get_instream_width(),
            "FactorY": self._factor("HO", "HI"),
            "FactorX": self._factor("WO", "WI"),
        }
        return Instance("upsample", _texts(parameters), straight("in0_V", "out0_V"))

    def _factor(self, large: str, small: str) -> int:
        size_out, size_in = self.get_nodeattr(large), self.get_nodeattr(small)
        if size_out < size_in or size_out % size_in:
            raise UnsupportedError(self.onnx_node.name, f"upsampling from {small} {size_in} to {large} {size_out}")
        return int(size_out // size_in)

    def _row(self) -> tuple[int, int]:
        """Return the places of the row's memory and the bits of each."""
        beats = self.folds(self.get_nodeattr("NumChannels"), "SIMD")
        return int(self.get_nodeattr("WI")) * beats, int(self.get_instream_width())

    def _in_luts(self) -> bool:
        depth, bits = self._row()
        return depth <= _LUT_RAM_DEPTH or depth * bits <= _LUT_RAM_BITS

    def lut_estimation(self, fpgapart: str) -> int:
        """14 and 5 a bit of the address for control; the row in LUTs (RAM32M, RAM64M) where it is small.

        Yosys 0.70, synth_xilinx -family xc7, factors 2, without the row: 19 for 2 places, 33 for 13, 57 for 208; it
        keeps rows of up to 64 places or 2,048 bits in LUTs, larger ones in block RAM.
        """
        depth, bits = self._row()
        memory = 4 * min(ceil(bits / 6) * ceil(depth / 32), ceil(bits / 3) * ceil(depth / 64))
        return 14 + 5 * (depth - 1).bit_length() + (memory if self._in_luts() else 0)

    def bram_estimation(self, fpgapart: str) -> int:
        """Block RAMs of 18 Kibit for one row that is not kept in LUTs, in the shape that needs fewest."""
        if self._in_luts():
            return 0
        depth, bits = self._row()
        return min(ceil(bits / width) * ceil(depth / places) for width, places in _RAM_SHAPES)


class DuplicateStreams_rtl(_Layer, DuplicateStreams):  # type: ignore[misc]  # noqa: N801
    """One stream to several: hw/finn/duplicate.sv."""

    def instance(self) -> Instance:
        """Return duplicate."""
        self.folds(self.get_nodeattr("NumChannels"), "PE")
        outputs = self.ports("m_axis")
        connections = straight("in0_V") | {"out_V_TDATA": "data"}
        connections |= {f"out_V_{wire}": _wires(outputs, wire) for wire in ("TVALID", "TREADY")}
        lines = [f"wire [{outputs[0].bits - 1}:0] data;", *(f"assign {port.name}_TDATA = data;" for port in outputs)]
        parameters = {"Outputs": len(outputs), "Bits": self.get_instream_width()}
        return Instance("duplicate", _texts(parameters), connections, lines)

    def lut_estimation(self, fpgapart: str) -> int:
        """One an output, and 2: what Yosys 0.70, synth_xilinx -family xc7, gives for 3 outputs; 3 for 2 outputs."""
        return int(self.get_num_output_streams()) + 2


class StreamingConcat_rtl(_Layer, StreamingConcat):  # type: ignore[misc]  # noqa: N801
    """Several streams to one, along the channels: hw/finn/concat.sv."""

    def instance(self) -> Instance:
        """Return concat; raises UnsupportedError for elements that are not integers."""
        kinds = [self.get_input_datatype(i) for i in range(self.get_n_inputs())]
        self.require_integers(kinds)
        channels = self.get_nodeattr("ChannelsPerStream")
        inputs, (output,) = self.ports("s_axis"), self.ports("m_axis")
        parameters = {
            "Inputs": len(inputs),
            "Lanes": self.get_nodeattr("SIMD"),
            "Bits": self.get_output_datatype().bitwidth(),
            "Beats": packed([self.folds(count, "SIMD") for count in channels]),
            "InBits": packed([kind.bitwidth() for kind in kinds]),
            "Signed": packed([int(kind.signed()) for kind in kinds], bits=1),
        }
        data = joined([extended(f"{port.name}_TDATA", port.bits, output.bits) for port in inputs])
        connections = {f"in_V_{wire}": _wires(inputs, wire) for wire in ("TVALID", "TREADY")}
        return Instance("concat", _texts(parameters), {"in_V_TDATA": data, **connections, **straight("out0_V")})

    def lut_estimation(self, fpgapart: str) -> int:
        """One a bit for up to four inputs, one more for each three further ones, and 16 for control.

        Yosys 0.70, synth_xilinx -family xc7: 73 for 2 inputs of 8 x 8 bits, 31 for 3 of 4 x 4, 150 for 5 of 8 x 8.
        """
        return int(self.get_outstream_width()) * ceil((int(self.get_n_inputs()) - 1) / 3) + 16


LAYERS_RTL: tuple[type[_Layer], ...] = (
    Pool_rtl,
    UpsampleNearestNeighbour_rtl,
    DuplicateStreams_rtl,
    StreamingConcat_rtl,
)


def register() -> None:
    """Make the layers known to FINN (SpecializeLayers) and to qonnx (getCustomOp). May be called again."""
    for layer in LAYERS_RTL:
        rtl.custom_op[layer.__name__] = layer
        add_op_to_domain(f"{LAYERS}.rtl", layer)


def _texts(parameters: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items()}


def _wires(ports: Sequence[Port], wire: str) -> str:
    return joined([f"{port.name}_{wire}" for port in ports])
