"""What FINN and the user see of our RTL layers: attributes refused, files, Tcl, estimates, execution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("finn")

from onnx import helper
from qonnx.custom_op.registry import getCustomOp

from nibble.errors import InputError, UnsupportedError
from nibble.targets.finn.library import LAYERS, open_finn

PART = "xc7z020clg400-1"
POOL = {
    "Channels": 8,
    "PE": 4,
    "KernelSize": [2, 2],
    "Function": "MaxPool",
    "OutImgDims": [4, 4],
    "InputDataType": "UINT4",
    "OutputDataType": "UINT4",
}
UPSAMPLE = {"HI": 4, "WI": 4, "HO": 8, "WO": 8, "NumChannels": 8, "SIMD": 4, "inputDataType": "UINT4"}
DUPLICATE = {"NumChannels": 8, "PE": 4, "NumOutputStreams": 2, "inputDataType": "UINT4", "numInputVectors": [1, 4, 4]}
CONCAT = {"SIMD": 4, "ChannelsPerStream": [8, 4], "inputDataTypes": ["UINT4", "INT4"], "numInputVectors": [1, 4, 4]}


@pytest.fixture(autouse=True, scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_finn(tmp_path_factory.mktemp("finn"))
    from nibble.targets.finn.rtl_layers import register

    register()
    register()


def layer(kind: str, attributes: dict[str, Any], inputs: int = 1, outputs: int = 1) -> Any:
    names = [f"in{i}" for i in range(inputs)], [f"out{i}" for i in range(outputs)]
    domain = f"{LAYERS}.rtl"
    return getCustomOp(
        helper.make_node(kind, *names, name="layer", domain=domain, backend="fpgadataflow", **attributes)
    )


def generated(op: Any, folder: Path) -> str:
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.generate_hdl(None, PART, 10.0)
    return (folder / "layer.v").read_text()


def test_the_wrapper_has_finns_ports_and_what_vivado_needs(tmp_path: Path) -> None:
    text = generated(layer("Pool_rtl", POOL), tmp_path)
    assert text.startswith("module layer (\n")
    assert 'X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF in0_V:out0_V, ASSOCIATED_RESET ap_rst_n"' in text
    assert "input wire [15:0] in0_V_TDATA,\n  input wire in0_V_TVALID,\n  output wire in0_V_TREADY" in text
    assert ".Kernel(4),\n    .Lanes(4),\n    .Bits(4),\n    .Signed(0)\n" in text


def test_finn_gets_the_files_and_tcl(tmp_path: Path) -> None:
    op = layer("StreamingConcat_rtl", CONCAT, inputs=2)
    text = generated(op, tmp_path)
    assert "ASSOCIATED_BUSIF in0_V:in1_V:out0_V" in text
    assert ".in_V_TDATA({{8'd0, in1_V_TDATA}, {8'd0, in0_V_TDATA}})" in text
    assert op.get_rtl_file_list() == ["concat.sv", "layer.v"]
    module, wrapper = op.get_rtl_file_list(abspath=True)
    assert Path(module).is_file()
    assert wrapper == str(tmp_path / "layer.v")
    tcl = ["create_bd_cell -type module -reference layer layer"]
    assert op.code_generation_ipi() == [f"add_files -norecurse {module}", f"add_files -norecurse {wrapper}", *tcl]
    assert op.get_nodeattr("ip_path") == op.get_nodeattr("ipgen_path") == str(tmp_path)


def test_a_renamed_node_keeps_its_module(tmp_path: Path) -> None:
    op = layer("DuplicateStreams_rtl", DUPLICATE, outputs=2)
    generated(op, tmp_path)
    op.onnx_node.name = "renamed"
    assert op.code_generation_ipi()[-1] == "create_bd_cell -type module -reference layer renamed"


@pytest.mark.parametrize(
    ("kind", "attributes", "error", "message"),
    [
        (
            "Pool_rtl",
            POOL | {"Function": "AvgPool"},
            UnsupportedError,
            "layer: Function AvgPool in RTL (preferred_impl_style hls is) is not supported",
        ),
        (
            "Pool_rtl",
            POOL | {"InputDataType": "FLOAT32", "OutputDataType": "FLOAT32"},
            UnsupportedError,
            "layer: RTL for elements of type FLOAT32 is not supported",
        ),
        (
            "Pool_rtl",
            POOL | {"InputDataType": "BIPOLAR", "OutputDataType": "BIPOLAR"},
            UnsupportedError,
            "layer: RTL for elements of type BIPOLAR is not supported",
        ),
        ("Pool_rtl", POOL | {"PE": 3}, InputError, "layer: found PE 3, expected a divisor of its 8 channels"),
        (
            "UpsampleNearestNeighbour_rtl",
            UPSAMPLE | {"WO": 6},
            UnsupportedError,
            "layer: upsampling from WI 4 to WO 6 is not supported",
        ),
        (
            "UpsampleNearestNeighbour_rtl",
            UPSAMPLE | {"HO": 0},
            UnsupportedError,
            "layer: upsampling from HI 4 to HO 0 is not supported",
        ),
        (
            "DuplicateStreams_rtl",
            DUPLICATE | {"PE": 0},
            InputError,
            "layer: found PE 0, expected a divisor of its 8 channels",
        ),
        (
            "StreamingConcat_rtl",
            CONCAT | {"ChannelsPerStream": [8, 6]},
            InputError,
            "layer: found SIMD 4, expected a divisor of its 6 channels",
        ),
    ],
)
def test_refuses_in_one_line(
    kind: str, attributes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as raised:
        generated(layer(kind, attributes, inputs=2 if kind.startswith("Str") else 1), tmp_path)
    assert str(raised.value) == message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("channels", "width", "bits", "luts", "blocks"),
    [(1, 13, 8, 42, 0), (16, 13, 32, 54, 1), (32, 26, 16, 64, 1), (128, 26, 8, 74, 2), (1, 256, 8, 102, 0)],
)
def test_upsampling_needs_about_what_synthesis_gave(
    channels: int, width: int, bits: int, luts: int, blocks: int
) -> None:
    """Yosys gave 33 + 8 (two RAM32M), 57, 64, 75 and 60 + 48 LUTs."""
    sizes = {"HI": 1, "HO": 2, "WI": width, "WO": 2 * width, "NumChannels": channels, "SIMD": 1}
    estimate = layer("UpsampleNearestNeighbour_rtl", sizes | {"inputDataType": f"UINT{bits}"}).node_res_estimation(PART)
    assert (estimate["LUT"], estimate["BRAM_18K"], estimate["DSP"], estimate["URAM"]) == (luts, blocks, 0, 0)


def test_the_other_estimates() -> None:
    kinds = [("Pool_rtl", POOL, 24), ("DuplicateStreams_rtl", DUPLICATE, 4), ("StreamingConcat_rtl", CONCAT, 36)]
    for kind, attributes, luts in kinds:
        op = layer(kind, attributes, inputs=2 if kind.startswith("Str") else 1)
        assert (op.lut_estimation(PART), op.bram_estimation(PART), op.dsp_estimation(PART)) == (luts, 0, 0)


def test_python_execution_is_that_of_the_general_layer() -> None:
    values = np.arange(4 * 4 * 32, dtype=np.float32).reshape(1, 4, 4, 32) % 16
    context = {"in0": values, "out0": np.zeros((1, 4, 4, 8), np.float32)}
    layer("Pool_rtl", POOL).execute_node(context, None)
    np.testing.assert_array_equal(context["out0"], values.reshape(1, 4, 4, 4, 8).max(axis=3))


def test_rtlsim_execution_is_finns(monkeypatch: pytest.MonkeyPatch) -> None:
    from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend

    called = []
    monkeypatch.setattr(RTLBackend, "execute_node", lambda self, context, graph: called.append(self.onnx_node.name))
    layer("Pool_rtl", POOL | {"exec_mode": "rtlsim"}).execute_node({}, None)
    assert called == ["layer"]
