from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nibble import ort  # noqa: E402
from nibble.importers import import_onnx  # noqa: E402
from nibble.quantize.learned.network import Network  # noqa: E402
from nibble.quantize.prepare import prepare  # noqa: E402


@pytest.mark.parametrize(("name", "activations"), [("nanodet_2022nov_fp32_416", 48), ("yolov10n_fp32_640", 69)])
def test_real_networks_say_what_onnxruntime_says(data: Path, name: str, activations: int) -> None:
    source = data / "models" / f"{name}.onnx"
    model = prepare(import_onnx(source), source)
    made = Network(model.graph, source)
    sides = [each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).random(sides, np.float32)
    wanted = ort.session(model).run(made.outputs, {made.input: x})
    found = made.run(torch.from_numpy(x))
    for output, values in zip(made.outputs, wanted, strict=True):
        np.testing.assert_allclose(found[output].numpy(), values, atol=1e-5 * np.abs(values).max())
    assert made.has_fixed_size
    assert len(made.activations()) == activations
