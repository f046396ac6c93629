from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nibble import ort
from nibble.errors import InputError, NibbleError, UnsupportedError
from nibble.importers import Options, import_darknet, import_onnx, onnx_model
from nibble.importers.recognise import NANODET_MEAN, NANODET_STD, YOLOV5_ANCHORS
from nibble.onnx_io import read_decoder, save_model, write_decoder
from nibble.yolo.coco import COCO_NAMES
from nibble.yolo.spec import Decoder, Head, Preprocess

NO_OPTIONS = Options()


class Net:
    """Writes small graphs; each method returns the name of what it adds."""

    def __init__(self, shape: Sequence[int | str] = (1, 3, 64, 32), opset: int = 17) -> None:
        self.shape, self.opset = shape, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)

    def const(self, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"t{len(self.nodes)}{'abc'[index]}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def conv(self, source: str, channels: tuple[int, int], stride: int = 1, size: int = 3) -> str:
        weights = self.random.standard_normal((channels[1], channels[0], size, size)).astype(np.float32) / 3
        bias = self.random.standard_normal(channels[1]).astype(np.float32)
        shape = {"strides": [stride, stride], "pads": [size // 2] * 4, "kernel_shape": [size, size]}
        return self.add("Conv", source, self.const(weights), self.const(bias), **shape)

    def trunk(self) -> list[str]:
        """Features of 8 channels at strides 8, 16, 32."""
        tensor, features = self.conv("x", (3, 8), 4), []
        for _ in range(3):
            tensor = self.add("LeakyRelu", self.conv(tensor, (8, 8), 2), alpha=0.1)
            features.append(tensor)
        return features

    def model(self, outputs: Sequence[str], metadata: dict[str, str] | None = None) -> onnx.ModelProto:
        images = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        values = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", images, values, self.constants)
        imports = [helper.make_opsetid("", self.opset)]
        inferred = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=imports, ir_version=8))
        if metadata:
            helper.set_model_props(inferred, metadata)
        return inferred


def flat(net: Net, tensor: str, channels: int) -> str:
    return net.add("Reshape", tensor, net.const(np.array([1, channels, -1], np.int64)))


def yolov8(
    classes: int = 3, top: bool = False, metadata: dict[str, str] | None = None, bins: int = 16
) -> onnx.ModelProto:
    net = Net()
    levels = []
    for feature in net.trunk():
        pair = net.conv(feature, (8, 4 * bins), 1, 1), net.conv(feature, (8, classes), 1, 1)
        levels.append(flat(net, net.add("Concat", *pair, axis=1), 4 * bins + classes))
    both = net.add("Concat", *levels, axis=2)
    net.add("Split", both, net.const(np.array([4 * bins, classes], np.int64)), outputs=2, axis=1)
    boxes, kinds = net.nodes[-1].output
    bins_first = net.add("Reshape", boxes, net.const(np.array([1, 4, bins, -1], np.int64)))
    share = net.add("Softmax", net.add("Transpose", bins_first, perm=[0, 2, 1, 3]), axis=1)
    dfl = net.add("Conv", share, net.const(np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1)))
    scores = net.add("Sigmoid", kinds)
    if top:
        scores = net.add("TopK", scores, net.const(np.array([2], np.int64)), outputs=2)
    return net.model([dfl, scores], metadata)


def yolov5(operator: str = "Pow", classes: int = 3) -> onnx.ModelProto:
    net, results = Net(), []
    for feature in net.trunk():
        head = net.conv(feature, (8, 3 * (5 + classes)), 1, 1)
        shape = np.array([1, 3, 5 + classes, -1], np.int64)
        cells = net.add("Sigmoid", net.add("Reshape", head, net.const(shape)))
        power = [cells, net.const(np.float32(2))] if operator == "Pow" else [cells]
        results.append(net.add(operator, *power))
    return net.model([net.add("Concat", *results, axis=3)])


def raw(channels: int = 24) -> onnx.ModelProto:
    net = Net()
    return net.model([net.conv(feature, (8, channels), 1, 1) for feature in net.trunk()])


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each import a process of its own; test_probe.py tests that."""
    monkeypatch.setattr(onnx_model, "probe", lambda model, where: None)


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., tuple[onnx.ModelProto, Decoder]]:
    def call(model: onnx.ModelProto, options: Options = NO_OPTIONS, **more: Any) -> tuple[onnx.ModelProto, Decoder]:
        path = tmp_path / "m.onnx"
        save_model(model, path)
        result = import_onnx(path, options, **more)
        onnx.checker.check_model(result)
        return result, read_decoder(result, path)

    return call


Imported = Callable[..., tuple[onnx.ModelProto, Decoder]]


def shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output}


def evaluate(model: onnx.ModelProto, names: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    image = np.random.default_rng(1).random(sizes, np.float32)
    return ort.run(ort.session(ort.with_outputs(model, names)), {model.graph.input[0].name: image})


def test_yolov8(imported: Imported) -> None:
    model, decoder = imported(yolov8())
    assert decoder.family == "yolov8"
    assert decoder.reg_max == 16
    assert decoder.classes == ("class_0", "class_1", "class_2")
    assert decoder.preprocess == Preprocess(32, 64)
    assert [head.outputs for head in decoder.heads] == [(f"head_{s}_boxes", f"head_{s}_classes") for s in (8, 16, 32)]
    assert shapes(model)["head_8_boxes"] == [1, 64, 8, 4]
    assert shapes(model)["head_32_classes"] == [1, 3, 2, 1]
    assert not {"Softmax", "Reshape"} & {node.op_type for node in model.graph.node}


def test_heads_hold_what_the_model_computed(imported: Imported) -> None:
    source = yolov8()
    convolutions = [node.output[0] for node in source.graph.node if node.op_type == "Conv"]
    inside = evaluate(source, convolutions)
    model, _ = imported(source)
    for value in evaluate(model).values():
        assert min(np.abs(inside[t] - value).max() for t in convolutions if inside[t].shape == value.shape) < 1e-5


def test_topk_is_yolov10(imported: Imported) -> None:
    assert imported(yolov8(top=True))[1].family == "yolov10"
    assert imported(yolov8(top=True), Options(decoder="yolov8"))[1].family == "yolov8"


def test_class_names_of_the_model(imported: Imported, tmp_path: Path) -> None:
    named = yolov8(metadata={"names": "{0: 'red', 1: 'white', 2: 'plate'}", "license": "free"})
    model, decoder = imported(named)
    assert decoder.classes == ("red", "white", "plate")
    assert ("license", "free") in {(entry.key, entry.value) for entry in model.metadata_props}
    (tmp_path / "n").write_text("a\nb\nc\n")
    assert imported(named, Options(names=tmp_path / "n"))[1].classes == ("a", "b", "c")
    assert imported(yolov8(metadata={"names": "{0: '0', 1: '1', 2: '2'}"}))[1].classes[0] == "class_0"
    assert imported(yolov8(metadata={"names": "import os"}))[1].classes[0] == "class_0"


def test_pair_of_unclear_order_needs_names(imported: Imported) -> None:
    source = yolov8(classes=64)
    with pytest.raises(InputError, match="two heads of 64 and 64 channels at stride 8, expected --heads in the order"):
        imported(source)
    names = tuple(node.output[0] for node in source.graph.node if node.op_type == "Conv")[4:10]
    swapped = tuple(name for pair in zip(names[1::2], names[::2], strict=True) for name in pair)
    plain, _ = imported(source, Options(heads=names))
    other, _ = imported(source, Options(heads=swapped))
    a, b = evaluate(plain), evaluate(other)
    np.testing.assert_array_equal(a["head_8_boxes"], b["head_8_classes"])


def test_eight_bins_and_classes_told_apart(imported: Imported) -> None:
    decoder = imported(yolov8(classes=5, bins=8))[1]
    assert (decoder.reg_max, len(decoder.classes)) == (8, 5)


def test_yolov5(imported: Imported) -> None:
    decoder = imported(yolov5())[1]
    assert decoder.family == "yolov5"
    assert decoder.heads[0] == Head(("head_8",), 8, ((10, 13), (16, 30), (33, 23)))
    assert decoder.heads[2].anchors == tuple(zip(YOLOV5_ANCHORS[12::2], YOLOV5_ANCHORS[13::2], strict=True))
    assert len(decoder.classes) == 3


def test_exponential_is_darknet(imported: Imported) -> None:
    anchors = tuple(float(n) for n in range(1, 19))
    decoder = imported(yolov5("Exp"), Options(anchors=anchors, scale_x_y=(1.2, 1.1, 1.05)))[1]
    assert decoder.family == "yolo"
    assert [head.scale_x_y for head in decoder.heads] == [1.2, 1.1, 1.05]
    assert decoder.heads[1].anchors == ((7, 8), (9, 10), (11, 12))


def test_raw_model_keeps_its_outputs(imported: Imported) -> None:
    source = raw()
    model, decoder = imported(source, Options(decoder="yolov5"))
    assert [head.outputs for head in decoder.heads] == [(output.name,) for output in source.graph.output]
    before, after = evaluate(source), evaluate(model)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=1e-5)


def test_preprocessing_options(imported: Imported) -> None:
    options = Options(decoder="yolov5", color="bgr", mean=(1, 2, 3), std=(4, 5, 6))
    assert imported(raw(), options)[1].preprocess == Preprocess(32, 64, "bgr", (1, 2, 3), (4, 5, 6))


def test_nanodet_bins(imported: Imported) -> None:
    decoder = imported(raw(24), Options(decoder="nanodet", bins=4))[1]
    assert (decoder.reg_max, len(decoder.classes)) == (4, 8)
    assert (decoder.preprocess.mean, decoder.preprocess.std) == (NANODET_MEAN, NANODET_STD)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            Options(),
            "heads of 24 channels at 8, 24 channels at 16, 24 channels at 32 and no known decoder after them, ex",
        ),
        (Options(decoder="ssd"), "--decoder: found ssd, expected yolo or yolov5 or yolov8 or yolov10 or nanodet"),
        (
            Options(decoder="yolo"),
            "found 0 anchor numbers, expected --anchors w,h,... above zero, as many for each of 3",
        ),
        (Options(decoder="yolo", anchors=(1, 2, 3, 4)), "found 4 anchor numbers, expected --anchors w,h,..."),
        (
            Options(decoder="yolov5", anchors=(1, 2) * 15),
            "heads with 5 anchors that leave -0.2, -0.2, -0.2, expected one",
        ),
        (Options(decoder="yolov5", scale_x_y=(1,)), "--scale-x-y: found a yolov5 decoder, expected yolo"),
        (
            Options(decoder="yolo", anchors=(1, 2) * 9, scale_x_y=(1,)),
            "--scale-x-y: found 1 numbers, expected 3, strides ascending",
        ),
        (
            Options(decoder="yolov8"),
            "found 1 heads at stride 8, expected two, boxes and classes (give them with --heads)",
        ),
        (Options(decoder="nanodet"), "heads with 8 bins that leave -8, -8, -8, expected one whole number above zero"),
        (
            Options(decoder="yolov5", heads=("nothing",)),
            "found no tensor 'nothing', expected --heads with names of tens",
        ),
        (Options(decoder="yolov5", color="hsv"), "--color: found hsv, expected rgb or bgr"),
        (Options(decoder="yolov5", std=(1, 1)), "--std: found 2 numbers, expected three, one a channel"),
        (Options(decoder="yolov5", std=(1, 1, 0)), "--std: found 1,1,0, expected numbers of 1e-06 to 1e+06"),
        (Options(decoder="yolov5", mean=(0, -1e9, 0)), "--mean: found 0,-1e+09,0, expected numbers of at most 1e+06"),
        (Options(decoder="yolov5", bins=8), "--bins: found a yolov5 decoder, expected nanodet"),
        (Options(decoder="nanodet", anchors=(1, 2)), "--anchors: found a nanodet decoder, expected yolo or yolov5"),
    ],
)
def test_what_the_options_cannot_mean(options: Options, message: str, imported: Imported) -> None:
    with pytest.raises(InputError) as caught:
        imported(raw(), options)
    assert message in str(caught.value)


def test_heads_of_other_shapes_are_refused(imported: Imported) -> None:
    source = yolov8()
    flattened = next(node.output[0] for node in source.graph.node if node.op_type == "Reshape")
    with pytest.raises(InputError, match="head 't10a' of shape 1x67x32, expected 1xCxhxw with the picture's size over"):
        imported(source, Options(decoder="yolov5", heads=(flattened,)))


@pytest.mark.parametrize("height", ["h", 0])
def test_open_size_needs_an_input_shape(height: str | int, imported: Imported) -> None:
    net = Net((1, 3, "h" if height else "", 32))
    source = net.model([net.conv(feature, (8, 24), 1, 1) for feature in net.trunk()])
    shown = "h" if height else r"\?"
    message = f"input 'x' of shape 1x3x{shown}x32, expected fixed height and width, or --input-shape 1,3,height,width"
    with pytest.raises(InputError, match=message):
        imported(source, Options(decoder="yolov5"))
    model, decoder = imported(source, Options(decoder="yolov5"), shape=(1, 3, 96, 64))
    assert decoder.preprocess == Preprocess(64, 96)
    assert next(iter(shapes(model).values())) == [1, 24, 12, 8]


def test_open_batch_becomes_one(imported: Imported) -> None:
    net = Net(("n", 3, 64, 32))
    model, _ = imported(net.model([net.conv(net.trunk()[0], (8, 24), 1, 1)]), Options(decoder="nanodet", bins=2))
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 32]
    assert model.graph.input[0].name == "images"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 64, 32, 3), "input 'x' of shape 1x64x32x3, expected 1x3xheightxwidth"),
        ((8, 3, 64, 32), "input 'x' of shape 8x3x64x32, expected 1x3xheightxwidth"),
        ((1, 12), "input 'x' of shape 1x12, expected 1x3xheightxwidth"),
        ((1, 3, 64, 99999), "input 'x' of shape 1x3x64x99999, expected sides of 8 to 4096"),
    ],
)
def test_inputs_that_are_no_picture(shape: tuple[int, ...], message: str, imported: Imported) -> None:
    net = Net(shape)
    net.add("Relu", "x")
    with pytest.raises(InputError, match=message):
        imported(net.model(["t0a"]))


def test_input_of_bytes(imported: Imported) -> None:
    source = raw()
    source.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    with pytest.raises(InputError, match="found input 'x' of type uint8, expected float32"):
        imported(source)


def test_two_inputs(imported: Imported) -> None:
    source = raw()
    source.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))
    with pytest.raises(InputError, match=r"found 2 inputs \(x, y\), expected one, the picture"):
        imported(source)


def test_no_convolution(imported: Imported) -> None:
    net = Net()
    net.add("Relu", "x")
    with pytest.raises(InputError, match="no convolution on the grid of a stride, expected a detector with raw heads"):
        imported(net.model(["t0a"]))


def test_model_that_does_not_run(imported: Imported) -> None:
    net = Net()
    bad = net.add("Reshape", net.conv("x", (3, 4), 8), net.const(np.array([7, 7], np.int64)))
    with pytest.raises(InputError, match="a model that onnxruntime cannot run"):
        imported(net.model([bad]))


def test_subgraphs_are_refused(imported: Imported) -> None:
    net = Net()
    net.add("Relu", "x")
    branch = helper.make_graph(
        [helper.make_node("Relu", ["t0a"], ["z"])], "b", [], [helper.make_empty_tensor_value_info("z")]
    )
    net.add("If", net.const(np.array(True)), then_branch=branch, else_branch=branch)
    with pytest.raises(UnsupportedError, match="If '', which holds a sub-graph, is not supported"):
        imported(net.model(["t1a"]))


def test_float_graph_is_made_plain(imported: Imported) -> None:
    net = Net(opset=11)
    tensor = net.conv("x", (3, 8), 8)
    scale, shift, mean, var = (net.const(np.linspace(1, 2, 8, dtype=np.float32)) for _ in range(4))
    tensor = net.add("Identity", net.add("BatchNormalization", tensor, scale, shift, mean, var))
    source = net.model([net.conv(tensor, (8, 24), 1, 1)])
    model, _ = imported(source, Options(decoder="nanodet", bins=2))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv"]
    assert model.opset_import[0].version == 21
    before, after = evaluate(source), evaluate(model)
    for a, b in zip(before.values(), after.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_decoder_already_recorded_is_kept(imported: Imported, data: Path) -> None:
    source = import_darknet(data / "models/yolov4-tiny.cfg", data / "models/yolov4-tiny.weights")
    decoder = replace(read_decoder(source, Path("x")), classes=tuple(name.upper() for name in COCO_NAMES))
    write_decoder(source, decoder)
    model, kept = imported(source)
    assert kept == decoder
    assert len([entry for entry in model.metadata_props if entry.key == "nibble.decoder"]) == 1
    with pytest.raises(InputError, match="found decoder facts inside, expected --decoder too, where options replace"):
        imported(source, Options(names=Path("other.names")))


@pytest.mark.parametrize("form", ["fp32", "int8_qoperator"])
def test_nanodet_of_the_zoo(form: str, data: Path) -> None:
    path = data / f"models/nanodet_2022nov_{form}_416.onnx"
    model = import_onnx(path)
    decoder = read_decoder(model, path)
    assert decoder.family == "nanodet"
    assert decoder.classes == COCO_NAMES
    assert decoder.preprocess == Preprocess(416, 416, "bgr", NANODET_MEAN, NANODET_STD)
    assert shapes(model) == {f"head_{s}": [1, 112, 416 // s, 416 // s] for s in (8, 16, 32)}
    heads, source = evaluate(model), onnx.load(path)
    scores = list(evaluate_source(source).values())[:3]
    for head, score in zip(heads.values(), scores, strict=True):
        logits = head[:, :80].reshape(1, 80, -1).transpose(0, 2, 1)
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), score, atol=1e-5 if form == "fp32" else 0.005)


def evaluate_source(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    image = np.random.default_rng(1).random((1, 3, 416, 416), np.float32)
    return ort.run(ort.session(model), {"input.1": image})


def test_int8_nanodet_is_all_integer(data: Path) -> None:
    model = import_onnx(data / "models/nanodet_2022nov_int8_qoperator_416.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("DequantizeLinear") == 3
    assert [node.op_type for node in model.graph.node][-3:] == ["DequantizeLinear"] * 3


def test_yolov10(data: Path) -> None:
    path = data / "models/yolov10n_fp32_640.onnx"
    model = import_onnx(path)
    decoder = read_decoder(model, path)
    assert (decoder.family, decoder.reg_max, decoder.classes) == ("yolov10", 16, COCO_NAMES)
    assert decoder.preprocess == Preprocess(640, 640)
    assert shapes(model)["head_16_boxes"] == [1, 64, 40, 40]
    assert shapes(model)["head_32_classes"] == [1, 80, 20, 20]
    image = np.random.default_rng(1).random((1, 3, 640, 640), np.float32)
    inner = "/model.23/one2one_cv3.2/one2one_cv3.2.2/Conv_output_0"
    expected = ort.run(ort.session(ort.with_outputs(onnx.load(path), [inner])), {"images": image})[inner]
    found = ort.run(ort.session(model), {"images": image})["head_32_classes"]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_absent_weights_are_named(data: Path) -> None:
    path = data / "topologies/yolov10m_640_no_weights.onnx"
    with pytest.raises(
        InputError, match=f"{path.name}: found unreadable external data .*expected its data beside the model"
    ):
        import_onnx(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4),
    end=st.integers(0, 9000),
)
def test_damaged_files_are_read_or_refused(edits: list[tuple[int, int]], end: int, tmp_path: Path) -> None:
    content = bytearray(yolov5().SerializeToString())
    for place, value in edits:
        content[place % len(content)] = value
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(content[: end if end % 3 == 0 else None]))
    with contextlib.suppress(NibbleError):
        import_onnx(path)
