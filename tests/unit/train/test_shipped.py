from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
from onnx import numpy_helper

from nibble import ort
from nibble.onnx_io import load_model, read_decoder
from nibble.paths import EMBEDDED_MODELS

GOLDEN, QONNX = (EMBEDDED_MODELS / f"lpyolo-faces-4w4a{end}.onnx" for end in ("", "-qonnx"))


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_the_files_are_those_that_were_measured() -> None:
    facts = json.loads(GOLDEN.with_suffix(".json").read_text())
    assert facts["sha256"] == hashlib.sha256(GOLDEN.read_bytes()).hexdigest()
    assert facts["qonnx_sha256"] == hashlib.sha256(QONNX.read_bytes()).hexdigest()
    assert facts["ap50"] > facts["float_ap50"] - 0.03


def test_golden_and_qonnx_hold_the_same_numbers() -> None:
    golden, qonnx = load_model(GOLDEN), load_model(QONNX)
    assert read_decoder(golden, GOLDEN) == read_decoder(qonnx, QONNX)
    ours, theirs = constants(golden), constants(qonnx)
    for k in range(1, 10):
        scale, codes = ours[f"conv{k}_weight_scale"], ours[f"conv{k}_weight_int4"].astype(np.float32)
        assert np.abs(codes).max() == 7
        np.testing.assert_array_equal(theirs[f"conv{k}_weight"], codes * scale.reshape(-1, 1, 1, 1))
        step = ours["images_scale" if k == 1 else f"act{k - 1}_scale"] * scale
        np.testing.assert_allclose(theirs[f"conv{k}_bias"], ours[f"conv{k}_bias"] * step, rtol=1e-6)
        assert theirs[f"act{k}_scale"] == ours[f"act{k}_scale"]
    assert (theirs["act1_bits"], theirs["head_weight_bits"]) == (4, 8)


def test_activations_have_four_bits() -> None:
    model = load_model(GOLDEN)
    names = [f"act{k}_quantized" for k in range(1, 10)]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 416, 416)).astype(np.float32) / 255
    found = ort.run(ort.session(ort.with_outputs(model, names)), {"images": pixels})
    assert found["act1_quantized"].max() == 15
    assert all(0 < found[name].max() <= 15 for name in names)
