"""`nibble sensitivity` on a small detector."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from nibble.engines import OnnxruntimeEngine
from nibble.evaluate.detector import detect
from nibble.evaluate.evaluation import CocoThresholds
from nibble.onnx_io import save_model
from nibble.quantize.recipe import load_recipe
from nibble.yolo.letterbox import read_picture

sys.path[:0] = [
    str(Path(__file__).parents[1] / "quantize"),
    str(Path(__file__).parents[1] / "quantize" / "sensitivity"),
]

Nibble = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sensitivity_graphs import heads, wide

    monkeypatch.chdir(tmp_path)
    save_model(wide(), Path("m.onnx"))
    save_model(heads(), Path("d.onnx"))
    Path("calib").mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        cv2.imwrite(f"calib/{index}.png", rng.integers(0, 256, (16, 16, 3), np.uint8))
    Path("a.json").write_text(json.dumps(annotations()))


def annotations() -> dict[str, object]:
    """Return as truth what the float network finds best, so that its AP is high."""
    engine = OnnxruntimeEngine(Path("d.onnx"))
    rows = []
    for index in range(3):
        found = detect(engine, read_picture(Path(f"calib/{index}.png")), CocoThresholds)[0]
        for x1, y1, x2, y2 in found.boxes[:5].tolist():
            rows.append({"image_id": index, "category_id": 7, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    return {
        "images": [{"id": index, "file_name": f"{index}.png"} for index in range(3)],
        "categories": [{"id": 7, "name": "thing"}],
        "annotations": rows,
    }


pytestmark = pytest.mark.usefixtures("files")
COMMAND = ["sensitivity", "m.onnx", "--calib", "calib", "-o", "s.json", "--workers", "1"]


def test_layers_schemes_recipes_and_picture(nibble: Nibble) -> None:
    options = ["--board", "pynq-z2", "--dpu", "tiny", "--top-k", "2", "--points", "3", "--recipes", "schemes"]
    code, text, errors = nibble(*COMMAND, *options, "--bits", "4/8", "--bits", "4/4", "--plot", "s.png")
    assert (code, errors) == (0, "")
    found = json.loads(Path("s.json").read_text())
    assert [(layer["name"], layer["bits"], layer["activation_bits"]) for layer in found["layers"][:3]] == [
        ("/0/conv", 4, 8),
        ("/0/conv", 4, 4),
        ("/1[a]", 4, 8),
    ]
    assert {layer["metric"] for layer in found["layers"]} == {"cosine"}
    assert len(found["layers"]) == 14
    schemes = {scheme["name"]: scheme for scheme in found["schemes"]}
    assert schemes["base"].items() >= {"int4": 0, "int8": 7, "float": 0, "ap": None, "predicted_ap": None}.items()
    assert schemes["top-2"].items() >= {"int4": 2, "int8": 5, "float": 0}.items()
    assert schemes["cycles-1"]["predicted_cycles"] < schemes["base"]["predicted_cycles"]
    assert schemes["bytes-1"]["int4"] == 5
    assert sorted(path.stem for path in Path("schemes").iterdir()) == sorted(schemes)
    assert load_recipe("schemes/top-2.yaml").layers[0].weight_bits == 4
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")
    assert "Schemes (cycles predicted)" in text
    assert "Convolutions alone at low bits, worst first" in text


def test_predicted_cycles_are_those_of_the_compiler(nibble: Nibble) -> None:
    assert nibble(*COMMAND, "--bits", "4/4", "--board", "pynq-z2", "--points", "2", "--recipes", "schemes")[0] == 0
    (scheme,) = [one for one in json.loads(Path("s.json").read_text())["schemes"] if one["name"] == "cycles-1"]
    assert nibble("quantize", "m.onnx", "--calib", "calib", "--recipe", "schemes/cycles-1.yaml", "-o", "q.onnx")[0] == 0
    assert nibble("compile", "q.onnx", "--board", "pynq-z2", "-o", "p.dpu", "--json", "c.json")[0] == 0
    assert json.loads(Path("c.json").read_text())["predicted_cycles"] == scheme["predicted_cycles"]


def test_mixed_within_cycles(nibble: Nibble) -> None:
    options = ["--bits", "4/4", "--board", "pynq-z2", "--dpu", "tiny", "--points", "2"]
    assert nibble(*COMMAND, *options)[0] == 0
    costs = {one["name"]: one["predicted_cycles"] for one in json.loads(Path("s.json").read_text())["schemes"]}
    middle = (costs["base"] + costs["cycles-1"]) // 2
    assert nibble(*COMMAND, *options, "--cycles", str(middle))[0] == 0
    mixed = json.loads(Path("s.json").read_text())["schemes"][-1]
    assert mixed["name"] == "mixed"
    assert 0 < mixed["int4"] < 5
    assert mixed["predicted_cycles"] <= middle
    code, _, errors = nibble(*COMMAND, *options, "--cycles", "5")
    assert code == 2
    assert errors.startswith("nibble: --cycles: found 5, expected at least ")


def test_no_matplotlib(nibble: Nibble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = "nibble: --plot needs matplotlib: pip install 'nibble-dpu[report]'\n"
    assert nibble(*COMMAND, "--plot", "s.png") == (2, "", message)


def test_quantize_within_cycles(nibble: Nibble) -> None:
    target = ["--board", "pynq-z2", "--dpu", "tiny"]
    quantize = ["quantize", "m.onnx", "--calib", "calib", "-o", "q.onnx", "--json", "q.json"]

    def compiled() -> int:
        assert nibble("compile", "q.onnx", *target, "-o", "p.dpu", "--json", "c.json")[0] == 0
        return int(json.loads(Path("c.json").read_text())["predicted_cycles"])

    assert nibble(*quantize)[0] == 0
    limit = compiled() * 95 // 100
    assert nibble(*quantize, "--cycles", str(limit), *target)[0] == 0
    assert compiled() <= limit
    assert 0 < json.loads(Path("q.json").read_text())["weight_bits"]["4"] < 5


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "--cycles: found no --board, expected the board whose cycles they are"),
        (["--board", "pynq-z2", "--recipe", "int8-reference"], "int8-reference: found a recipe without integer conv"),
        (["--board", "pynq-z2", "--recipe", "int4-weight-only"], "int4-weight-only: found a recipe without integer c"),
        (["--board", "pynq-z2"], "--cycles: found 9, expected at least "),
    ],
)
def test_bad_cycles_of_quantize(nibble: Nibble, options: list[str], line: str) -> None:
    code, _, errors = nibble("quantize", "m.onnx", "--calib", "calib", "-o", "q.onnx", "--cycles", "9", *options)
    assert code == 2
    assert errors.startswith(f"nibble: {line}")
    assert not Path("q.onnx").exists()


def test_weight_only_with_average_precision(nibble: Nibble) -> None:
    command = ["sensitivity", "d.onnx", *COMMAND[2:], "--recipe", "int4-absmax", "--metric", "ap"]
    code, text, errors = nibble(*command, "--images", "calib", "--annotations", "a.json", "--points", "3")
    assert (code, errors) == (0, "")
    assert "AP predicted" in text
    assert nibble("eval", "d.onnx", "--images", "calib", "--annotations", "a.json", "--json", "e.json")[0] == 0
    found = json.loads(Path("s.json").read_text())
    assert found["reference"] == pytest.approx(json.loads(Path("e.json").read_text())["models"][0]["ap"])
    assert found["reference"] > 0.9
    assert {(layer["metric"], layer["activation_bits"]) for layer in found["layers"]} == {("ap", None)}
    assert all(layer["damage"] == pytest.approx(found["reference"] - layer["value"]) for layer in found["layers"])
    schemes = {scheme["name"]: scheme for scheme in found["schemes"]}
    assert all(scheme["ap"] is not None and scheme["predicted_cycles"] is None for scheme in schemes.values())
    assert schemes["base"].items() >= {"int4": 2, "float": 2}.items()
    assert schemes["bytes-3"].items() >= {"int4": 0, "float": 4, "ap": found["reference"]}.items()


def test_measured_schemes_have_the_precision_of_eval(nibble: Nibble) -> None:
    command = ["sensitivity", "d.onnx", *COMMAND[2:], "--bits", "4/8", "--points", "2", "--recipes", "schemes"]
    assert nibble(*command, "--images", "calib", "--annotations", "a.json")[0] == 0
    for scheme in json.loads(Path("s.json").read_text())["schemes"]:
        recipe = f"schemes/{scheme['name']}.yaml"
        assert nibble("quantize", "d.onnx", "--calib", "calib", "--recipe", recipe, "-o", "q.onnx")[0] == 0
        assert nibble("eval", "q.onnx", "--images", "calib", "--annotations", "a.json", "--json", "e.json")[0] == 0
        assert json.loads(Path("e.json").read_text())["models"][0]["ap"] == pytest.approx(scheme["ap"])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--metric", "psnr"], "--metric: found 'psnr', expected one of cosine, sqnr, ap"),
        (["--images", "calib"], "--images: found no --annotations, expected both, or none of them"),
        (["--annotations", "a.json"], "--annotations: found no --images, expected both, or none of them"),
        (["--metric", "ap"], "--metric ap: found no --images and --annotations, expected pictures to measure AP on"),
        (["--cycles", "9"], "--cycles: found no --board, expected the board whose cycles they are"),
        (
            ["--bits", "3/8"],
            "--bits: found '3/8', expected 8/8, 4/8, 4/4 or 8/4 (weights/activations) with a recipe of",
        ),
        (["--include", "q*"], "--include: found no convolution that matches 'q*', expected one, such as '/0/conv'"),
        (["--recipe", "int8-reference"], "int8-reference: found writer: onnxruntime, expected a recipe with writer: "),
        (["--plot", "m.onnx"], "m.onnx: found an input, expected another name for the output"),
        (["--plot", "s.json"], "s.json: found two outputs of this name, expected different names"),
        (["--recipes", "calib"], "calib: found the folder of the pictures, expected another one for recipes"),
        (["--recipes", "m.onnx"], "m.onnx: found a file, expected a folder for recipes"),
    ],
)
def test_bad_options(nibble: Nibble, options: list[str], line: str) -> None:
    code, text, errors = nibble(*COMMAND, *options)
    assert (code, text) == (2, "")
    assert errors.startswith(f"nibble: {line}")
    assert not Path("s.json").exists()
