from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("brevitas")
wrapper = pytest.importorskip("qonnx.core.modelwrapper")

from qonnx.core.onnx_exec import execute_onnx  # noqa: E402
from qonnx.transformation.infer_shapes import InferShapes  # noqa: E402
from random_networks import randomized  # noqa: E402

from nibble import ort  # noqa: E402
from nibble.onnx_io import read_decoder  # noqa: E402
from nibble.train.golden import to_golden  # noqa: E402
from nibble.train.integers import to_integers  # noqa: E402
from nibble.train.qonnx import to_qonnx  # noqa: E402
from nibble.train.recipe import Recipe  # noqa: E402


@pytest.mark.parametrize("mix", ["2W4A", "3W5A", "4W4A", "8W3A"])
def test_every_code_is_that_of_the_golden(recipe: Recipe, mix: str) -> None:
    chosen = recipe.changed(mix)
    network = to_integers(randomized(chosen))
    model = wrapper.ModelWrapper(to_qonnx(network, chosen)).transform(InferShapes())
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, 64, 64)).astype(np.float32) / 255
    found = execute_onnx(model, {"images": pixels}, return_full_exec_context=True)
    codes = [f"pool{k}_quantized" for k in (1, 2, 3)]
    expected = ort.run(ort.session(ort.with_outputs(to_golden(network, chosen), [*codes, "head"])), {"images": pixels})
    for conv, name in zip(network.convs, codes, strict=True):
        values = found[name.removesuffix("_quantized")] / conv.output_scale
        np.testing.assert_array_equal(np.rint(values), expected[name])
    np.testing.assert_allclose(found["head"], expected["head"], rtol=1e-4, atol=1e-4)


def test_the_graph_is_what_a_dataflow_compiler_reads(quantized: Recipe) -> None:
    model = to_qonnx(to_integers(randomized(quantized)), quantized)
    layer = ["Quant", "Conv", "Relu", "Quant", "MaxPool"]
    assert [node.op_type for node in model.graph.node] == ["Quant", *layer * 3, "Quant", "Conv"]
    assert {entry.domain for entry in model.opset_import} == {"", "qonnx.custom_op.general"}
    attributes = [{a.name for a in node.attribute} for node in model.graph.node if node.op_type == "Conv"]
    assert attributes == [{"kernel_shape", "pads", "strides", "dilations", "group"}] * 4
    assert read_decoder(model, Path("m.onnx")).classes == ("square",)
    bits = {
        t.name: float(np.frombuffer(t.raw_data, np.float32)[0]) for t in model.graph.initializer if "_bits" in t.name
    }
    assert bits["images_bits"] == bits["head_weight_bits"] == 8
    assert {bits[f"{part}{k}_bits"] for part in ("act",) for k in (1, 2, 3)} == {4}
    assert {bits[f"conv{k}_weight_bits"] for k in (1, 2, 3)} == {4}
