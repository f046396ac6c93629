"""Networks that Brevitas itself exports, against its own forward pass."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from nibble import ort
from nibble.graph.verify import verify_file
from nibble.importers import Options, import_onnx
from nibble.onnx_io import save_model

torch = pytest.importorskip("torch")
pytest.importorskip("brevitas")
import brevitas.nn as qnn  # noqa: E402
from brevitas.export import export_qonnx  # noqa: E402
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Uint8ActPerTensorFloat  # noqa: E402
from torch import nn  # noqa: E402

Array = npt.NDArray[Any]
OPTIONS = Options(decoder="yolo", anchors=(1, 2, 3, 4, 5, 6))
SIDE = 32
ULP = 2.0**-24


def block(inputs: int, outputs: int, bits: tuple[int, int], stride: int = 1, groups: int = 1, signed: bool = False,
          per_channel: bool = False) -> list[nn.Module]:  # fmt: skip
    """QuantConv2d of so many bits, BatchNorm2d whose parameters look trained, activation of so many bits."""
    options = {"weight_quant": Int8WeightPerChannelFloat} if per_channel else {}
    conv = qnn.QuantConv2d(
        inputs, outputs, 3, stride, 1, groups=groups, bias=False, weight_bit_width=bits[0], **options
    )
    norm = nn.BatchNorm2d(outputs)
    nn.init.normal_(norm.weight, 0.3, 1)
    nn.init.normal_(norm.bias, 0.2, 0.5)
    leaky = [nn.LeakyReLU(0.125), qnn.QuantIdentity(Int8ActPerTensorFloat, bit_width=bits[1])]
    return [conv, norm, *(leaky if signed else [qnn.QuantReLU(Uint8ActPerTensorFloat, bit_width=bits[1])])]


def network(seed: int) -> nn.Sequential:
    """A head of stride 2 behind convolutions of 2 to 8 bits, after five steps of calibration."""
    torch.manual_seed(seed)
    layers = [
        qnn.QuantIdentity(Uint8ActPerTensorFloat, bit_width=8),
        *block(3, 8, (4, 4), stride=2),
        *block(8, 8, (2, 3), groups=8),
        *block(8, 12, (8, 8), per_channel=True),
        *block(12, 12, (5, 2), per_channel=True, signed=True),
        *block(12, 10, (3, 6)),
        qnn.QuantConv2d(10, 18, 1, bias=True, weight_bit_width=8),
    ]
    model = nn.Sequential(*layers)
    for _ in range(5):
        model(torch.rand(2, 3, SIDE, SIDE))
    return model.eval()


@pytest.fixture
def optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brevitas calls onnxoptimizer, which turns Constant nodes into initializers; here the importer does."""
    stub = types.SimpleNamespace(optimize=lambda model, passes: model)
    monkeypatch.setattr("brevitas.export.onnx.manager.opt", stub)
    monkeypatch.setattr("brevitas.export.onnx.manager.onnx", onnx)


def exported(model: nn.Module, path: Path, **options: Any) -> Path:
    export_qonnx(model, args=torch.rand(1, 3, SIDE, SIDE), export_path=str(path), **options)
    return path


def codes(model: onnx.ModelProto, picture: Array) -> list[Array]:
    """The codes, zero points taken off, that the convolutions of the imported model read, in order."""
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = {
        node.input[0]: int(values[node.input[2]])
        for node in model.graph.node
        if node.op_type in ("QLinearConv", "ConvInteger")
    }
    tensors = ort.run(ort.session(ort.with_outputs(model, zeros)), {"images": picture})
    return [tensors[name].astype(np.int64) - zero for name, zero in zeros.items()]


def scale_of(activation: nn.Module) -> float:
    return float(activation.act_quant.scale())


def slack_of(conv: nn.Module, norm: nn.Module, peak: float, scale: float, target: float) -> float:
    """How far a normalized sum may be off: half a step of the accumulator or of `target`, for its bias, and errors.

    The float32 errors are bounded by (products + 24) * 2**-24 * the largest possible sum.
    """
    gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs()
    weights = conv.quant_weight()
    sums = (weights.value.abs().flatten(1).sum(1) * peak + norm.running_mean.abs()) * gain + norm.bias.abs()
    step = min(target, float((weights.scale.flatten() * scale * gain).max()))
    return float(0.5 * step + (weights.value[0].numel() + 24) * ULP * sums.max())


@pytest.mark.usefixtures("optimizer")
@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (1, {"dynamo": False, "keep_initializers_as_inputs": False, "opset_version": 13}),
        (2, {"dynamo": True, "optimize": True}),
    ],
)
def test_a_brevitas_export_computes_what_brevitas_does(seed: int, options: dict[str, Any], tmp_path: Path) -> None:
    """Layer by layer, on our codes: those of the next layer are the same but next to ties."""
    model, path = network(seed), tmp_path / "m.onnx"
    imported = import_onnx(exported(model, path, **options), OPTIONS)
    picture = np.random.default_rng(seed).random((1, 3, SIDE, SIDE), np.float32)
    found = codes(imported, picture)
    layers = list(model)
    ends = [index for index, layer in enumerate(layers) if isinstance(layer, (qnn.QuantIdentity, qnn.QuantReLU))]
    scales = [scale_of(layers[end]) for end in ends]
    assert len(found) == len(ends) == 6
    differ = 0
    with torch.no_grad():
        np.testing.assert_array_equal(found[0], np.rint(layers[0](torch.from_numpy(picture)).numpy() / scales[0]))
        for k in range(1, len(ends)):
            conv, norm, *between, quant = layers[ends[k - 1] + 1 : ends[k] + 1]
            value = torch.from_numpy((found[k - 1] * np.float32(scales[k - 1])).astype(np.float32))
            before = nn.Sequential(conv, norm, *between)(value)
            wrong = found[k] != np.rint(quant(before).numpy() / scales[k])
            steps = before.numpy().astype(np.float64)[wrong] / scales[k]
            slack = slack_of(conv, norm, float(value.abs().max()), scales[k - 1], scales[k]) / scales[k]
            assert (np.abs(np.abs(steps - np.floor(steps)) - 0.5) <= slack).all(), k
            differ += int(wrong.sum())
        head = layers[-1](torch.from_numpy((found[-1] * np.float32(scales[-1])).astype(np.float32))).numpy()
    (ours,) = ort.run(ort.session(imported), {"images": picture}).values()
    np.testing.assert_allclose(ours, head, rtol=0, atol=1e-5 * np.abs(head).max())
    assert differ < 0.005 * sum(part.size for part in found)
    save_model(imported, path)
    result = verify_file(path, None, 1)
    assert result.holds
    assert (result.nodes, result.proven) == (result.proven, result.nodes)


@pytest.mark.usefixtures("optimizer")
def test_equal_normalizations_are_one_constant_to_pytorch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [qnn.QuantIdentity(bit_width=8)]
    for inputs in (3, 8, 8):
        layers += [qnn.QuantConv2d(inputs, 8, 3, 2, 1, bias=False, weight_bit_width=4), nn.BatchNorm2d(8)]
        layers += [qnn.QuantReLU(bit_width=4)]
    model = nn.Sequential(*layers, qnn.QuantConv2d(8, 18, 1, weight_bit_width=8)).eval()
    path = exported(model, tmp_path / "m.onnx", dynamo=False, keep_initializers_as_inputs=False)
    assert any(node.op_type == "Identity" for node in onnx.load(path).graph.node)
    assert "BatchNormalization" not in {node.op_type for node in import_onnx(path, OPTIONS).graph.node}
