from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nibble import ort
from nibble.errors import InputError, NibbleError, UnsupportedError
from nibble.importers import import_darknet, random_weights
from nibble.onnx_io import read_decoder
from nibble.yolo.coco import COCO_NAMES
from nibble.yolo.spec import Head, Preprocess

Image = npt.NDArray[np.float32]
Make = Callable[..., tuple[onnx.ModelProto, Path, Path]]


def conv(filters: int, size: int = 3, stride: int = 1, activation: str = "leaky", extra: str = "") -> str:
    options = f"filters={filters}\nsize={size}\nstride={stride}\npad=1\nactivation={activation}\n{extra}\n"
    return f"[convolutional]\nbatch_normalize=1\n{options}"


def head(anchors: int = 3, classes: int = 3, activation: str = "linear", extra: str = "") -> str:
    pairs = ",".join(f"{8 * n + 8},{6 * n + 8}" for n in range(anchors))
    mask = ",".join(str(n) for n in range(anchors))
    options = f"size=1\nstride=1\npad=1\nfilters={anchors * (5 + classes)}\nactivation={activation}\n"
    return (
        f"[convolutional]\n{options}[yolo]\nanchors={pairs}\nnum={anchors}\nclasses={classes}\n{extra}\nmask={mask}\n"
    )


def net(body: str, width: int = 64, height: int = 32) -> str:
    return f"[net]\nwidth={width}\nheight={height}\nchannels=3\n{body}"


def region(anchors: str = "1,1, 2.5,2", extra: str = "") -> str:
    convolution = "[convolutional]\nfilters=18\nsize=1\nactivation=linear\n"
    return f"{convolution}[region]\nanchors={anchors}\nnum=2\nclasses=4\ncoords=4\nsoftmax=1\n{extra}\n"


NETWORKS = {
    "yolov3-tiny": conv(8)
    + "[maxpool]\nsize=2\nstride=2\n"
    + conv(16)
    + "[maxpool]\nsize=2\nstride=1\n"
    + conv(8, 1)
    + "[upsample]\nstride=2\n[route]\nlayers=-1, 0\n"
    + head(),
    "mish-shortcut": conv(8, 3, 2, "mish") + conv(8, 1, 1, "mish") + conv(8, 3, 1, "mish")
    + "[shortcut]\nfrom=-3\nactivation=linear\n" + head(),
    "shortcut-leaky": conv(8) + conv(8, 1) + "[shortcut]\nfrom=0\nactivation=leaky\n" + head(),
    "groups": conv(8) + conv(16, 3, 2, "relu", "groups=4") + conv(16, 3, 1, "swish", "groups=16") + head(),
    "csp-split": conv(16, 3, 2) + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" + conv(8)
    + "[route]\nlayers=-1,-2\n" + conv(4, 1) + "[route]\nlayers=0,-1\n" + head(),
    "spp": conv(8, 3, 2) + "[maxpool]\nstride=1\nsize=5\n[route]\nlayers=-2\n[maxpool]\nstride=1\nsize=9\n"
    + "[route]\nlayers=-1,-3,0\n" + head(),
    "odd-maxpool": conv(8) + "[maxpool]\nsize=3\nstride=2\n" + conv(8, 5, 1, "relu") + "[maxpool]\nsize=4\nstride=2\n"
    + head(),
    "no-pad": conv(8, 1) + "[convolutional]\nfilters=8\nsize=2\nstride=2\npad=0\nactivation=logistic\n" + head(),
    "one-by-one-first": conv(8, 1, 1, "relu") + "[dropout]\nprobability=.5\n" + conv(8, 3, 1, "tanh") + head(2, 1),
}  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a cfg and random weights; return the imported model and both paths."""

    def build(text: str, seed: int = 0) -> tuple[onnx.ModelProto, Path, Path]:
        cfg, weights = tmp_path / "net.cfg", tmp_path / "net.weights"
        cfg.write_text(text)
        weights.write_bytes(random_weights(cfg, seed))
        return import_darknet(cfg, weights), cfg, weights

    return build


def outputs(model: onnx.ModelProto, image: Image) -> list[Image]:
    return list(ort.run(ort.session(model), {"images": image}).values())


def random_image(model: onnx.ModelProto) -> Image:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(0).random(shape, np.float32)


def opencv(cfg: Path, weights: Path, image: Image, layers: list[str]) -> list[Image]:
    opened = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    opened.setInput(image)
    return [opened.forward(layer) for layer in layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_heads_equal_opencv(name: str, make: Make) -> None:
    model, cfg, weights = make(net(NETWORKS[name]))
    onnx.checker.check_model(model, full_check=True)
    image = random_image(model)
    last = [node.name for node in model.graph.node if node.op_type == "Conv"][-1]
    (ours,) = outputs(model, image)
    (theirs,) = opencv(cfg, weights, image, [last])
    assert ours.std() > 0.05
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_reorg_and_region_equal_opencv(make: Make) -> None:
    body = conv(8, 3, 2) + conv(16, 3, 2) + "[route]\nlayers=0\n[reorg]\nstride=2\n[route]\nlayers=-1,-3\n" + region()
    model, cfg, weights = make(net(body))
    image = random_image(model)
    np.testing.assert_allclose(outputs(model, image)[0], opencv(cfg, weights, image, ["conv_5"])[0], rtol=0, atol=1e-4)
    decoder = read_decoder(model, cfg)
    assert decoder.softmax
    assert decoder.heads == (Head(("head_4",), 4, ((4.0, 4.0), (10.0, 8.0))),)


def test_real_network_equals_opencv_on_a_picture(data: Path) -> None:
    cfg, weights = data / "models/yolov4-tiny.cfg", data / "models/yolov4-tiny.weights"
    model = import_darknet(cfg, weights, data / "models/coco.names")
    image = cv2.dnn.blobFromImage(cv2.imread(str(data / "images/dog.jpg")), 1 / 255, (416, 416), swapRB=True)
    for ours, theirs in zip(outputs(model, image), opencv(cfg, weights, image, ["conv_29", "conv_36"]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


def test_decoder_facts_of_the_real_network(data: Path) -> None:
    model = import_darknet(data / "models/yolov4-tiny.cfg", data / "models/yolov4-tiny.weights")
    decoder = read_decoder(model, Path("x"))
    assert decoder.preprocess == Preprocess(416, 416)
    assert decoder.classes == COCO_NAMES
    assert decoder.heads == (
        Head(("head_32",), 32, ((81.0, 82.0), (135.0, 169.0), (344.0, 319.0)), 1.05),
        Head(("head_16",), 16, ((23.0, 27.0), (37.0, 58.0), (81.0, 82.0)), 1.05),
    )
    assert [node.name for node in model.graph.node][:4] == ["conv_0", "leaky_0", "conv_1", "leaky_1"]
    assert {"conv_0.weight", "conv_0.bias"} <= {constant.name for constant in model.graph.initializer}


def test_scaled_yolov4_head_is_squashed(make: Make) -> None:
    extra = "new_coords=1\nscale_x_y=2.0\nmask=0,2"
    body = conv(8, 3, 2) + head(3, 3, "logistic", extra).replace("filters=24", "filters=16")
    model, cfg, _ = make(net(body))
    decoder = read_decoder(model, cfg)
    assert decoder.new_coords
    assert decoder.heads == (Head(("head_2",), 2, ((8.0, 8.0), (24.0, 20.0)), 2.0),)
    assert model.graph.node[-1].op_type == "Sigmoid"
    (found,) = outputs(model, random_image(model))
    assert found.min() >= 0
    assert found.max() <= 1


def test_relu6_and_equal_strides(make: Make) -> None:
    model, cfg, _ = make(net(conv(4, 3, 2, "relu6") + head() + "[route]\nlayers=0\n" + head()))
    assert [output.name for output in model.graph.output] == ["head_2", "head_2_1"]
    clipped = ort.run(ort.session(ort.with_outputs(model, ["relu6_0"])), {"images": 100 * random_image(model)})
    assert (clipped["relu6_0"].min(), clipped["relu6_0"].max()) == (0, 6)
    assert read_decoder(model, cfg).classes == ("class_0", "class_1", "class_2")


def test_shapes_are_recorded(make: Make) -> None:
    model, _, _ = make(net(NETWORKS["yolov3-tiny"]))
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    results = ort.run(ort.session(ort.with_outputs(model, known)), {"images": random_image(model)})
    assert set(known) == {name for node in model.graph.node for name in node.output}
    for name, value in known.items():
        assert results[name].shape == tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def test_large_network_with_random_weights_stays_sane(data: Path) -> None:
    model = import_darknet(data / "topologies/yolov4-leaky-416.cfg", 1)
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 110
    assert sum(node.op_type == "Add" for node in model.graph.node) == 23
    assert sum(node.op_type == "LeakyRelu" for node in model.graph.node) == 107
    assert [output.name for output in model.graph.output] == ["head_8", "head_16", "head_32"]
    assert sum(len(constant.raw_data) for constant in model.graph.initializer) > 250e6
    assert all(0.1 < found.std() < 30 for found in outputs(model, random_image(model)))


def test_old_header_counts_pictures_in_four_bytes(make: Make) -> None:
    model, cfg, weights = make(net(head()))
    content = weights.read_bytes()
    weights.write_bytes(struct.pack("<3ii", 0, 1, 0, 7) + content[20:])
    assert import_darknet(cfg, weights) == model


def refused(cfg: Path, weights: Path | int = 0, names: Path | None = None) -> str:
    with pytest.raises((InputError, UnsupportedError)) as caught:
        import_darknet(cfg, weights, names)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(cfg.parent) + "/", "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[lstm]\n", "net.cfg:5: section [lstm] is not supported"),
        (conv(8), "net.cfg:1: found no [yolo] or [region] section, expected at least one"),
        (conv(8, 3, 1, "gelu") + head(), "net.cfg:11: activation=gelu is not supported"),
        ("[convolutional]\nfilters=4\ndilation=2\n", "net.cfg:7: [convolutional] dilation=2 is not supported"),
        ("[convolutional]\nfilters=x\n", "net.cfg:6: found filters='x', expected an integer"),
        ("[convolutional]\nfilters=0\n", "net.cfg:6: found filters=0, expected 1 to 1073741824"),
        ("[convolutional]\nfilters=4\ngroups=2\n", "net.cfg:7: found groups=2, expected a divisor of 3 channels"),
        ("[convolutional]\nsize=99\n", "net.cfg:6: found size=99 on 32 pixels, expected a window inside its input"),
        ("[route]\nlayers=-1\n", "net.cfg:6: found layers=-1, expected an earlier layer"),
        ("[route]\n", "net.cfg:5: found no layers, expected layers=..., at least one"),
        (conv(8) + conv(8, 3, 2) + "[route]\nlayers=0,1\n", "net.cfg:22: found layers of 16x32 and 32x64, expected"),
        (conv(8) + "[route]\nlayers=0\ngroups=3\n", "net.cfg:15: found groups=3, expected a divisor of 8 channels"),
        (conv(8) + conv(4) + "[shortcut]\nfrom=0\n", "net.cfg:22: found layers of 8x32x64 and 4x32x64, expected equal"),
        (conv(8) + "[shortcut]\nfrom=0,0\n", "net.cfg:14: found from='0,0', expected from=..., one layer"),
        (conv(8) + "[shortcut]\nfrom=0\nweights_type=per_channel\n", "net.cfg:15: [shortcut] weights_type=per_channel"),
        (conv(8) + "[reorg]\nstride=3\n", "net.cfg:14: found stride=3, expected one that divides 32x64"),
        (head().replace("num=3", "num=4"), "net.cfg:12: found 6 anchor numbers, expected 8 above zero (2 x num)"),
        (head(3, 3, "linear", "mask=0,7"), "net.cfg:15: found mask='0,7', expected numbers of the 3 anchors"),
        (head().replace("classes=3", "classes=9"), "net.cfg:14: found 24 channels, expected 42 (anchors x (5 + cla"),
        (head() + "[route]\nlayers=0\n" + head(3, 4), "net.cfg:28: found classes=4, expected 3 as in the other heads"),
        (head(3, 3, "linear", "scale_x_y=nan"), "net.cfg:15: found scale_x_y='nan', expected finite numbers"),
        ("[upsample]\nstride=32\n" * 5, "net.cfg:7: found an output of 3x32768x65536, expected at most 1073741824"),
        ("filters 8\n", "net.cfg:5: found 'filters 8', expected [section] or, inside one, key=value"),
    ],
)
def test_bad_cfg_is_named_with_its_line(body: str, message: str, tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    cfg.write_text(net(body))
    assert refused(cfg).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "net.cfg: found no section, expected [net] as the first section"),
        ("[yolo]\n", "net.cfg: found [yolo] first, expected [net] as the first section"),
        ("[net]\nwidth=0\n", "net.cfg:2: found width=0, expected 32 to 8192"),
        ("[net]\nwidth=1000000000\n", "net.cfg:2: found width=1000000000, expected 32 to 8192"),
        ("[net]\nchannels=1\n", "net.cfg:2: channels=1, other than 3, is not supported"),
        (net(conv(8, 3, 2) + head(), 33), "net.cfg:19: found 33x32 pixels for 17x16 cells, expected width and height"),
        (
            net("[convolutional]\nfilters=500000\nsize=31\npad=1\n" + head()),
            "net.cfg: a network of 1454000024 parameters, over",
        ),
    ],
)
def test_bad_net_is_refused(text: str, message: str, tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    cfg.write_text(text)
    assert refused(cfg).startswith(message)


def test_unreadable_cfg(tmp_path: Path) -> None:
    assert refused(tmp_path / "a.cfg") == "a.cfg: found No such file or directory, expected a darknet cfg"
    (tmp_path / "b.cfg").write_bytes(b"\xff\xfe")
    assert refused(tmp_path / "b.cfg") == "b.cfg: found bytes that are no text, expected a darknet cfg"
    (tmp_path / "c.cfg").write_bytes(b" " * 2_000_000)
    assert refused(tmp_path / "c.cfg") == "c.cfg: found 2000000 bytes, expected a darknet cfg of at most 1048576 bytes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-4], "net.weights: found 95 floats, expected 96 floats"),
        (lambda b: b + b"abc", "net.weights: found 96 floats and 3 bytes, expected 96 floats"),
        (lambda b: b[:5], "net.weights: found 5 bytes, expected a darknet weights file"),
        (lambda b: b[:12], "net.weights: found 0 floats, expected 96 floats"),
        (lambda b: b"PK" + b[2:], "net.weights: found version 19280.2, expected a darknet weights file"),
        (lambda b: b[:-4] + struct.pack("<f", np.nan), "net.weights: found NaN or infinity in conv_0, expected finite"),
        (lambda b: b[:20] + struct.pack("<f", np.inf) + b[24:], "net.weights: found NaN or infinity in conv_0"),
    ],
)
def test_bad_weights(change: Callable[[bytes], bytes], message: str, make: Make) -> None:
    _, cfg, weights = make(net(head()))
    weights.write_bytes(change(weights.read_bytes()))
    assert refused(cfg, weights).startswith(message)


def test_negative_variance(make: Make) -> None:
    _, cfg, weights = make(net(conv(2) + head()))
    content = bytearray(weights.read_bytes())
    content[20 + 6 * 4 : 20 + 7 * 4] = struct.pack("<f", -1)
    weights.write_bytes(content)
    message = "net.weights: found a negative variance in conv_0, expected variances of zero or more"
    assert refused(cfg, weights) == message


def test_folding_that_leaves_float32(make: Make) -> None:
    _, cfg, weights = make(net(conv(2) + head()))
    content = np.frombuffer(weights.read_bytes(), np.float32).copy()
    content[5 + 2] = content[5 + 8] = 3e38  # scale and weight of the first channel
    weights.write_bytes(content.tobytes())
    message = "net.weights: found parameters of conv_0 whose folding leaves float32, expected trained weights"
    assert refused(cfg, weights) == message


def test_weights_that_are_no_file(make: Make, tmp_path: Path) -> None:
    _, cfg, _ = make(net(head()))
    assert refused(cfg, tmp_path / "none") == "none: found No such file or directory, expected a darknet weights file"
    assert "Is a directory" in refused(cfg, tmp_path)


def test_class_names(make: Make, tmp_path: Path) -> None:
    _, cfg, weights = make(net(head()))
    names = tmp_path / "a.names"
    names.write_text("red cell\n white \n\nplate\n")
    model = import_darknet(cfg, weights, names)
    assert read_decoder(model, cfg).classes == ("red cell", "white", "plate")
    names.write_text("a\nb\n")
    assert refused(cfg, weights, names) == "a.names: found 2 class names, expected 3"
    names.write_bytes(b"\xff")
    assert refused(cfg, weights, names) == "a.names: found bytes that are no text, expected class names, one a line"


TOKENS = (
    "[net]",
    "[yolo]",
    "[route]",
    "[convolutional]",
    "layers=-1,",
    "size=3",
    "=",
    "#",
    "stride=0",
    "groups=2",
    "\n",
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(TOKENS)).map(lambda t: "\n".join(t).encode())))
def test_any_bytes_give_one_line(text: bytes, tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    cfg.write_bytes(text)
    with pytest.raises(NibbleError) as caught:
        import_darknet(cfg, 0)
    assert "\n" not in str(caught.value)
