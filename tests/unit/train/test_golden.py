from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("brevitas")

from random_networks import randomized, round_biases  # noqa: E402

from nibble import ort  # noqa: E402
from nibble.config import load_board, load_dpu  # noqa: E402
from nibble.graph.prove import lower_proven  # noqa: E402
from nibble.graph.verify import verify_file  # noqa: E402
from nibble.onnx_io import read_decoder, save_model  # noqa: E402
from nibble.simulate.check import simulate  # noqa: E402
from nibble.simulate.engine import CppsimCore  # noqa: E402
from nibble.targets.dpu import isa  # noqa: E402
from nibble.targets.dpu.compiler import compile_graph  # noqa: E402
from nibble.targets.dpu.program import DpuSegment, Program  # noqa: E402
from nibble.train.golden import to_golden  # noqa: E402
from nibble.train.integers import to_integers  # noqa: E402
from nibble.train.recipe import Recipe  # noqa: E402

MIXES = ("2W4A", "3W5A", "4W2A", "4W4A", "6W4A", "8W3A", "8W8A")
PIXELS = np.random.default_rng(1).integers(0, 256, (1, 3, 64, 64)).astype(np.float32) / 255


def golden(recipe: Recipe, mix: str, seed: int = 0) -> onnx.ModelProto:
    chosen = recipe.changed(mix)
    return to_golden(to_integers(randomized(chosen, seed)), chosen)


def test_the_graph_computes_in_integers_from_pixels_to_head(recipe: Recipe) -> None:
    model = golden(recipe, "4W4A")
    kinds = [node.op_type for node in model.graph.node]
    layer = ["Cast", "QLinearConv", "Clip", "MaxPool"]
    assert kinds == ["QuantizeLinear", *layer * 3, "ConvInteger", "Cast", "Mul", "Add"]
    assert read_decoder(model, Path("m.onnx")).heads[0].outputs == ("head",)


@pytest.mark.parametrize("mix", MIXES)
def test_weights_are_stored_in_their_bits_and_activations_are_clipped(recipe: Recipe, mix: str) -> None:
    model = golden(recipe, mix)
    kinds = {t.name: t.data_type for t in model.graph.initializer if "_weight" in t.name and t.data_type != 1}
    small = int(mix[0]) <= 4
    stored = "conv1_weight_int4" if small else "conv1_weight"
    assert kinds[stored] == (onnx.TensorProto.INT4 if small else onnx.TensorProto.INT8)
    assert kinds["head_weight"] == onnx.TensorProto.INT8
    watched = "pool2_quantized"
    found = ort.run(ort.session(ort.with_outputs(model, [watched])), {"images": PIXELS})[watched]
    assert found.dtype == np.uint8
    assert 0 < found.max() <= 2 ** int(mix[2]) - 1


def compared(network: torch.nn.Sequential, model: onnx.ModelProto) -> tuple[list[np.ndarray], float]:
    """Return the differences of the codes after each layer, and the greatest of the head in its standard deviations."""
    codes = [f"pool{k}_quantized" for k in (1, 2, 3)]
    found = ort.run(ort.session(ort.with_outputs(model, [*codes, "head"])), {"images": PIXELS})
    values, differences = torch.from_numpy(PIXELS), []
    with torch.no_grad():
        for name, layer in network.named_children():
            values = layer(values)
            if name.startswith("act"):
                expected = (values / layer.act_quant.scale()).round().numpy()
                differences.append(np.abs(expected - found[codes[len(differences)]]))
    return differences, float(np.abs(values.numpy() - found["head"]).max() / values.std())


@pytest.mark.parametrize("mix", MIXES)
def test_the_trained_network_differs_by_rounded_biases_alone(recipe: Recipe, mix: str) -> None:
    chosen = recipe.changed(mix)
    network = randomized(chosen)
    model = to_golden(to_integers(network), chosen)
    differences, _ = compared(network, model)
    assert differences[0].max() <= 1
    assert (differences[0] > 0).mean() < 0.02
    round_biases(network)
    differences, head = compared(network, model)
    assert [difference.max() for difference in differences] == [0, 0, 0]
    assert head < 1e-5


@pytest.mark.parametrize("mix", ["2W4A", "4W4A", "8W3A"])
def test_every_node_is_proven(recipe: Recipe, tmp_path: Path, mix: str) -> None:
    save_model(golden(recipe, mix), tmp_path / "m.onnx")
    found = verify_file(tmp_path / "m.onnx", None, None)
    assert (found.nodes, found.proven, found.mismatches) == (11, 11, 0)


def weights4(program: Program) -> dict[str, set[int]]:
    """Return the `weights4` of the CONV instructions of each layer."""
    found: dict[str, set[int]] = {}
    for segment in program.manifest.segments:
        at = segment.start if isinstance(segment, DpuSegment) else 0
        for layer in segment.layers if isinstance(segment, DpuSegment) else ():
            for address in range(at, layer.end, isa.INSTRUCTION_BYTES):
                first = address - program.manifest.image_address
                instruction = isa.decode(program.image[first : first + isa.INSTRUCTION_BYTES])
                if isinstance(instruction, isa.Conv):
                    found.setdefault(layer.name, set()).add(instruction.weights4)
            at = layer.end
    return found


def test_the_dpu_computes_the_same_with_four_bit_weights(recipe: Recipe) -> None:
    graph, _ = lower_proven(golden(recipe, "4W4A"), "m.onnx")
    assert [graph.tensors[f"pool{k}_quantized"].bits for k in (1, 2, 3)] == [4, 4, 4]
    board = load_board("pynq-z2")
    program = compile_graph(graph, board, load_dpu("tiny"))
    result = simulate(program, CppsimCore(program.manifest.dpu, "reference"), [{"images": PIXELS}])
    assert result.bit_exact
    assert result.tensors_compared >= 7
    assert weights4(program) == {"conv1": {1}, "conv2": {1}, "conv3": {1}, "head_quant": {0}}


def test_exporting_leaves_the_network_alone(quantized: Recipe) -> None:
    network = randomized(quantized)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    to_golden(to_integers(network), quantized)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
