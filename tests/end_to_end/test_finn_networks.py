"""Whole FINN networks, small: lowered, folded, generated, stitched, and equal in Verilator, with and without stalls."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("finn")

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "targets" / "finn"))

from finn_nets import WHERE, Net, goldens, lowered

from nibble.config import load_board
from nibble.demo import portrait
from nibble.engines import open_engine
from nibble.errors import CheckFailedError
from nibble.evaluate.detector import detect
from nibble.onnx_io import read_decoder, write_decoder
from nibble.paths import EMBEDDED_MODELS
from nibble.simulate.dataflow import PassCheck, compare
from nibble.simulate.rtlsim import Simulator
from nibble.targets.finn.budget import Budget
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.folding import apply_folding, fold
from nibble.targets.finn.library import open_finn
from nibble.targets.finn.network import save_network
from nibble.targets.finn.pack import pack_network
from nibble.targets.finn.passes import DuplicateForks, Fifos, Generate, Specialize, WidthConverters, run_passes
from nibble.targets.finn.stitch import stitch
from nibble.yolo.letterbox import read_picture
from nibble.yolo.postprocess import Thresholds

PYNQ = Budget.of(load_board("pynq-z2"), 100)
FRAMES = 2


@pytest.fixture(scope="module", autouse=True)
def _finn(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_finn(tmp_path_factory.mktemp("finn"))
    from nibble.targets.finn.rtl_layers import register

    register()


def simulator(model: onnx.ModelProto, fps: float, folder: Path, fifo: int = 2) -> tuple[Dataflow, Simulator]:
    dataflow = lowered(model)
    check = PassCheck(goldens(dataflow, model)[0], [])
    forked = run_passes(dataflow, [DuplicateForks()], check)
    folded = apply_folding(forked, fold(forked, PYNQ, fps))
    last = [Fifos({}, fifo), Specialize(PYNQ.part), Generate(PYNQ.part, 100, folder)]
    ready = run_passes(folded, [Specialize(PYNQ.part), WidthConverters(), *last], check)
    assert all(compared.bit_exact for _, compared in check.results)
    return ready, Simulator(stitch(ready, WHERE))


def check(model: onnx.ModelProto, dataflow: Dataflow, simulator: Simulator, stall: float) -> None:
    """Compare every output of some frames."""
    references = goldens(dataflow, model)[:FRAMES]
    run = simulator.run([golden.inputs(dataflow) for golden in references], stall=stall, seed=5)
    for golden, outputs in zip(references, run.outputs, strict=True):
        compared = compare(dataflow.streams, outputs, golden, "rtlsim")
        assert compared.bit_exact
        assert compared.tensors == len(dataflow.outputs)


def resized(name: str, side: int) -> onnx.ModelProto:
    """An embedded detector for pictures of another size."""
    model = onnx.load(EMBEDDED_MODELS / name)
    for value, size in ((model.graph.input[0], side), (model.graph.output[0], side // 32)):
        for dim in value.type.tensor_type.shape.dim[2:]:
            dim.dim_value = size
    del model.graph.value_info[:]
    return model


def with_decoder_of(model: onnx.ModelProto, side: int) -> onnx.ModelProto:
    """The same model whose decoder facts tell of pictures of another size."""
    decoder = read_decoder(model, Path(WHERE))
    facts = dataclasses.replace(decoder.preprocess, width=side, height=side)
    write_decoder(model, dataclasses.replace(decoder, preprocess=facts))
    return model


def test_detection_through_the_network_file_finds_the_boxes_of_onnxruntime(tmp_path: Path) -> None:
    model = with_decoder_of(resized("lpyolo-faces-4w4a.onnx", 64), 64)
    dataflow, _ = simulator(model, 2000, tmp_path)
    save_network(pack_network(dataflow, PYNQ, WHERE), tmp_path / "faces.finn")
    onnx.save(model, tmp_path / "faces.onnx")
    picture = read_picture(portrait())
    found, expected = (
        detect(open_engine(tmp_path / name, engine), picture, Thresholds(0.01, 0.45))[0]
        for name, engine in (("faces.finn", "rtlsim"), ("faces.onnx", "onnxruntime"))
    )
    assert len(expected.scores) > 0
    for field in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


@pytest.mark.parametrize(
    "name", ["lpyolo-faces-4w4a.onnx", pytest.param("lpyolo-faces-int8.onnx", marks=pytest.mark.slow)]
)
def test_the_face_detector_on_small_pictures(name: str, tmp_path: Path) -> None:
    model = resized(name, 64)
    dataflow, built = simulator(model, 2000, tmp_path)
    check(model, dataflow, built, 0)
    check(model, dataflow, built, 0.4)


def yolov3_tiny() -> onnx.ModelProto:
    """A fork to a head and to a branch that is enlarged and joined with an early map; two heads."""
    net = Net()
    early = net.clip(net.same(net.input(2, 8, 8), 4, 2), None, 15, name="early")
    late = net.clip(net.leaky(net.same(net.pool(early), 4, 4, zero=20), zero=10), None, 25, name="late")
    first = net.head(net.conv(late, net.weights(3, 4, 1, 1, most=7), zero=100), "first")
    net.steps["up"] = net.steps[early]
    up = net.upsample(net.clip(net.conv(late, net.weights(4, 4, 1, 1, most=7), name="thin"), None, 15), name="up")
    joined = net.same(net.concat(up, early, name="joined"), 4, 8, name="after")
    return net.model(first, net.sums(joined, net.weights(3, 4, 1, 1, most=7), "last"))


def test_forks_and_joins_need_deep_fifos(tmp_path: Path) -> None:
    model = yolov3_tiny()
    dataflow, shallow = simulator(model, 10000, tmp_path / "shallow")
    with pytest.raises(CheckFailedError) as caught:
        check(model, dataflow, shallow, 0)
    assert str(caught.value).startswith("dataflow: no beat moved for 1000000 cycles; ")
    dataflow, deep = simulator(model, 10000, tmp_path / "deep", fifo=256)
    check(model, dataflow, deep, 0)
    check(model, dataflow, deep, 0.4)
