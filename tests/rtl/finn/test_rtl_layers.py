"""A FINN graph with all of our RTL layers: its generated RTL against FINN's Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_bench import Array, pack, some, unpack

pytest.importorskip("finn")

from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.custom_op.registry import getCustomOp
from qonnx.util.basic import qonnx_make_model

from nibble.simulate.streams import StreamRun, run
from nibble.simulate.verilator import Design, Stream, build
from nibble.targets.finn.library import LAYERS, open_finn

PART = "xc7z020clg400-1"
FRAMES = 3
LANES = 2
SHAPES = {
    "in0": (1, 8, 8, 6),
    "in1": (1, 4, 4, 4),
    "windows": (1, 4, 4, 24),
    "pooled": (1, 4, 4, 6),
    "left": (1, 4, 4, 6),
    "right": (1, 4, 4, 6),
    "out0": (1, 8, 8, 6),
    "out1": (1, 4, 4, 10),
}
KINDS = dict.fromkeys(SHAPES, "INT5") | {"in1": "UINT6", "out1": "INT7"}


def graph() -> ModelWrapper:
    """in0 -> window -> max-pool -> fork: one way to upsampling -> out0, one joined with in1 -> out1."""
    node = _node
    pixels = [1, 4, 4]
    sizes: dict[str, Any] = {"IFMDim": [8, 8], "OFMDim": [4, 4], "Stride": [2, 2], "Dilation": [1, 1], "IFMChannels": 6}
    types = {"inputDataType": "INT5", "outputDataType": "INT5"}
    pool = {"Channels": 6, "PE": LANES, "KernelSize": [2, 2], "Function": "MaxPool", "OutImgDims": [4, 4]}
    kinds = {"InputDataType": "INT5", "OutputDataType": "INT5"}
    up = {"HI": 4, "WI": 4, "HO": 8, "WO": 8, "NumChannels": 6, "SIMD": LANES, "inputDataType": "INT5"}
    fork = {"NumChannels": 6, "PE": LANES, "NumOutputStreams": 2, "inputDataType": "INT5", "numInputVectors": pixels}
    joint = {"SIMD": LANES, "ChannelsPerStream": [6, 4], "inputDataTypes": ["INT5", "UINT6"], "numInputVectors": pixels}
    window = {"ConvKernelDim": [2, 2], "SIMD": LANES, "depthwise": 1, **sizes, **types}
    nodes = [
        node("ConvolutionInputGenerator", ["in0"], ["windows"], window),
        node("Pool", ["windows"], ["pooled"], {**pool, **kinds}),
        node("DuplicateStreams", ["pooled"], ["left", "right"], fork),
        node("UpsampleNearestNeighbour", ["left"], ["out0"], up),
        node("StreamingConcat", ["right", "in1"], ["out1"], joint),
    ]
    info = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in SHAPES.items()}
    ends = [info[name] for name in ("in0", "in1")], [info[name] for name in ("out0", "out1")]
    inner = [info[name] for name in ("windows", "pooled", "left", "right")]
    model = ModelWrapper(qonnx_make_model(helper.make_graph(nodes, "layers", *ends, value_info=inner)))
    for name, kind in KINDS.items():
        model.set_tensor_datatype(name, DataType[kind])
    return model


def _node(kind: str, inputs: list[str], outputs: list[str], attributes: dict[str, Any]) -> Any:
    return helper.make_node(kind, inputs, outputs, name=kind, domain=LAYERS, backend="fpgadataflow", **attributes)


@pytest.fixture(scope="module")
def specialized(tmp_path_factory: pytest.TempPathFactory) -> ModelWrapper:
    open_finn(tmp_path_factory.mktemp("finn"))
    from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers

    from nibble.targets.finn.rtl_layers import register

    register()
    return graph().transform(SpecializeLayers(PART)).transform(PrepareIP(PART, 10))


def test_finn_chooses_the_rtl_layers(specialized: ModelWrapper) -> None:
    assert [node.op_type for node in specialized.graph.node] == [
        "ConvolutionInputGenerator_rtl",
        "Pool_rtl",
        "DuplicateStreams_rtl",
        "UpsampleNearestNeighbour_rtl",
        "StreamingConcat_rtl",
    ]


@pytest.fixture(scope="module")
def frames() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    kinds = {name: DataType[KINDS[name]] for name in ("in0", "in1")}
    return {
        name: some(rng, (FRAMES, *SHAPES[name][1:]), kind.bitwidth(), kind.signed()) for name, kind in kinds.items()
    }


@pytest.fixture(scope="module")
def expected(specialized: ModelWrapper, frames: dict[str, Array]) -> dict[str, Array]:
    model = graph()
    feeds = [{name: values[i : i + 1].astype(np.float32) for name, values in frames.items()} for i in range(FRAMES)]
    results = [execute_onnx(model, feed) for feed in feeds]
    return {name: np.concatenate([result[name] for result in results]) for name in ("out0", "out1")}


@pytest.fixture(scope="module")
def design(specialized: ModelWrapper, tmp_path_factory: pytest.TempPathFactory) -> Design:
    top = tmp_path_factory.mktemp("top") / "layers.sv"
    top.write_text(_stitched(specialized))
    files = [
        Path(file) for node in specialized.graph.node for file in getCustomOp(node).get_rtl_file_list(abspath=True)
    ]
    streams = {name: Stream(name, -(-LANES * DataType[KINDS[name]].bitwidth() // 8) * 8) for name in SHAPES}
    return Design("layers", (*files, top), (streams["in0"], streams["in1"]), (streams["out0"], streams["out1"]))


def _stitched(model: ModelWrapper) -> str:
    """Return a top whose streams have the names of the graph's tensors."""
    ports, wires, bodies = ["input ap_clk", "input ap_rst_n"], [], []
    for name in SHAPES:
        width = -(-LANES * DataType[KINDS[name]].bitwidth() // 8) * 8
        ways = ("input", "output") if name.startswith("in") else ("output", "input")
        declared = [f"[{width - 1}:0] {name}_TDATA", f"{name}_TVALID", f"{name}_TREADY"]
        if name.startswith(("in", "out")):
            ports += [f"{way} {text}" for way, text in zip((ways[0], ways[0], ways[1]), declared, strict=True)]
        else:
            wires += [f"wire {text};" for text in declared]
    for node in model.graph.node:
        op = getCustomOp(node)
        names = op.get_verilog_top_module_intf_names()
        streams = [*zip(names["s_axis"], node.input, strict=True), *zip(names["m_axis"], node.output, strict=True)]
        pins = [f".{port[0]}_{w}({name}_{w})" for port, name in streams for w in ("TDATA", "TVALID", "TREADY")]
        module = op.get_nodeattr("gen_top_module")
        bodies.append(f"{module} i_{node.name} (.ap_clk, .ap_rst_n, {', '.join(pins)});")
    return f"module layers ({', '.join(ports)});\n" + "\n".join([*wires, *bodies]) + "\nendmodule\n"


def simulate(design: Design, frames: dict[str, Array], stall: float) -> StreamRun:
    sent = {name: pack(values.reshape(-1, LANES), DataType[KINDS[name]].bitwidth()) for name, values in frames.items()}
    beats = {name: FRAMES * int(np.prod(SHAPES[name])) // LANES for name in ("out0", "out1")}
    return run(build(design), design, sent, beats, stall=stall, seed=1, idle_limit=2000)


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_the_generated_rtl_equals_finns_python(
    design: Design, frames: dict[str, Array], expected: dict[str, Array], stall: float
) -> None:
    result = simulate(design, frames, stall)
    for name, values in expected.items():
        kind = DataType[KINDS[name]]
        found = unpack(result.outputs[name], LANES, kind.bitwidth(), kind.signed())
        np.testing.assert_array_equal(found.reshape(values.shape), values)
