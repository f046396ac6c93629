from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("finn")

from finn_nets import PART, WHERE, Net, folded, goldens, lowered
from qonnx.custom_op.registry import getCustomOp

from nibble.errors import CheckFailedError, UnsupportedError
from nibble.simulate.dataflow import PassCheck, execute
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.library import open_finn
from nibble.targets.finn.passes import (
    DuplicateForks,
    Fifos,
    Generate,
    Specialize,
    WidthConverters,
    rtl_only,
    run_passes,
    unspecialized,
)
from nibble.targets.finn.stitch import stitch


@pytest.fixture(scope="module", autouse=True)
def _finn(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_finn(tmp_path_factory.mktemp("finn"))
    from nibble.targets.finn.rtl_layers import register

    register()


def network() -> onnx.ModelProto:
    """Two inputs, a fork inside, one of an input, and an output that is read again; joined."""
    net = Net()
    one, two = net.input(4, 4, 4, name="one"), net.input(6, 4, 4, name="two")
    a = net.conv(one, net.weights(6, 4, 1, 1), name="a")
    b = net.pool(net.conv(two, net.weights(4, 6, 1, 1), name="b"), 3, 1, name="b_pool", pads=[1] * 4)
    joined = net.concat(two, a, b, name="joined")
    return net.model(a, net.head(net.conv(joined, net.weights(2, 16, 1, 1), name="last"), "y"), net.head(b, "z"))


FOLDING = {
    "a_sums": {"PE": 3, "SIMD": 2},
    "a_steps": {"PE": 2},
    "b_steps": {"PE": 4},
    "b_pool_window": {"SIMD": 2},
    "b_pool_largest": {"PE": 2},
    "joined_joined": {"SIMD": 2},
    "last_sums": {"SIMD": 16},
}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return network()


@pytest.fixture(scope="module")
def forked(model: onnx.ModelProto) -> Dataflow:
    return DuplicateForks().apply(lowered(model))


@pytest.fixture(scope="module")
def converted(model: onnx.ModelProto, forked: Dataflow) -> Dataflow:
    dataflow = folded(forked.with_model(copy.deepcopy(forked.model)), **FOLDING)
    return run_passes(dataflow, [Specialize(PART), WidthConverters()], PassCheck(goldens(dataflow, model)[0], []))


def names(dataflow: Dataflow) -> list[str]:
    return [node.name for node in dataflow.model.graph.node]


def layer(dataflow: Dataflow, name: str) -> Any:
    return getCustomOp(dataflow.model.get_node_from_name(name))


def test_forks_become_layers_and_borders_keep_their_names(model: onnx.ModelProto, forked: Dataflow) -> None:
    before = lowered(model)
    assert set(names(forked)) - set(names(before)) == {"b_sums_in_fork", "a_steps_fork", "b_pool_largest_fork"}
    for ends in ("input", "output"):
        assert [v.name for v in getattr(forked.model.graph, ends)] == [
            v.name for v in getattr(before.model.graph, ends)
        ]
    read = [name for node in forked.model.graph.node for name in node.input]
    streams = [name for name in read if forked.model.get_initializer(name) is None]
    assert len(streams) == len(set(streams)), "every stream has one reader"
    assert not {v.name for v in forked.model.graph.output} & set(streams), "an output is read by nobody else"


def test_a_pass_leaves_its_argument_as_it_was(model: onnx.ModelProto, tmp_path: Path) -> None:
    dataflow = lowered(model)
    for step in (
        DuplicateForks(),
        Specialize(PART),
        WidthConverters(),
        Fifos(),
        Specialize(PART),
        Generate(PART, 100, tmp_path),
    ):
        before = dataflow.model.model.SerializeToString()
        after = step.apply(dataflow)
        assert dataflow.model.model.SerializeToString() == before
        dataflow = after


def test_layers_keep_their_names(forked: Dataflow, converted: Dataflow) -> None:
    finished = run_passes(converted, [Fifos(), Specialize(PART)], lambda name, dataflow: None)
    assert set(names(forked)) <= set(names(converted)) <= set(names(finished))
    assert len(set(names(finished))) == len(names(finished))
    for name in set(names(finished)) - set(names(converted)):
        assert "_fifo" in name
    assert {"a_steps_fork_fifo0", "a_steps_fork_fifo1", "joined_joined_fifo", "last_steps_fifo"} <= set(names(finished))
    assert {"a_sums_in_fifo", "b_sums_in_fork_in_fifo"} <= set(names(finished)), "FIFOs at the inputs"
    by_name = {node.name: node.op_type for node in finished.model.graph.node}
    assert by_name["a_steps"] == "Thresholding_rtl"
    assert by_name["b_pool_largest"] == "Pool_rtl"


def test_two_inputs_of_one_layer_have_a_fifo_each() -> None:
    net = Net()
    model = net.model(net.concat(net.input(2, 3, 3, name="one"), net.input(4, 3, 3, name="two"), name="joined"))
    dataflow = Fifos({"joined_joined_in1_fifo": 9}, 4).apply(lowered(model))
    found = {name: layer(dataflow, name).get_nodeattr("depth") for name in names(dataflow) if "fifo" in name}
    assert found == {"joined_joined_in0_fifo": 4, "joined_joined_in1_fifo": 9, "joined_joined_fifo": 4}


def test_both_ends_of_every_stream_are_as_wide(converted: Dataflow) -> None:
    graph = converted.model.graph
    for node in graph.node:
        for index, name in enumerate(node.input):
            source = converted.model.find_producer(name)
            if source is None:
                continue
            port = list(source.output).index(name)
            width = getCustomOp(source).get_folded_output_shape(port)[-1]
            assert getCustomOp(node).get_folded_input_shape(index)[-1] == width
    assert {"a_sums_width", "b_steps_width"} <= set(names(converted))


def test_fifo_depths_are_honoured(converted: Dataflow) -> None:
    wanted = {"a_steps_fork_fifo1": 40, "joined_joined_fifo": 3, "a_sums_in_fifo": 17, "last_steps_fifo": 5}
    dataflow = Fifos(wanted, 12).apply(converted)
    depths = {name: layer(dataflow, name).get_nodeattr("depth") for name in names(dataflow) if "_fifo" in name}
    assert depths == {name: wanted.get(name, 12) for name in depths}
    smallest = Fifos({"joined_joined_fifo": 0}).apply(converted)
    assert layer(smallest, "joined_joined_fifo").get_nodeattr("depth") == 2


def test_every_layer_writes_to_its_folder_and_names_memories_without_paths(converted: Dataflow, tmp_path: Path) -> None:
    dataflow = run_passes(converted, [Fifos(), Specialize(PART), Generate(PART, 100, tmp_path)], lambda *_: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names(dataflow))
    for path in tmp_path.rglob("*.v"):
        assert str(tmp_path) not in path.read_text(), path
    assert list((tmp_path / "a_steps").glob("*.dat"))
    design = stitch(dataflow, WHERE)
    memories = {name for name in design.files if name.endswith(".dat")}
    text = "".join(design.files[name] for name in design.sources)
    assert all(name.rsplit("_threshs_", 1)[0] in text for name in memories)
    assert str(tmp_path) not in text


def test_generating_again_leaves_nothing_of_the_first_time(converted: Dataflow, tmp_path: Path) -> None:
    ready = run_passes(converted, [Fifos(), Specialize(PART)], lambda *_: None)
    Generate(PART, 100, tmp_path).apply(ready)
    (tmp_path / "a_steps" / "old.dat").write_text("")
    Generate(PART, 100, tmp_path).apply(ready)
    assert not (tmp_path / "a_steps" / "old.dat").exists()


@pytest.mark.parametrize(("base", "steps", "stages"), [(0, 15, 4), (-1, 2, 2), (-9, 247, 8), (100, 20, 5)])
def test_thresholds_have_a_memory_for_each_stage(base: int, steps: int, stages: int, tmp_path: Path) -> None:
    """Not for each bit of the output's type, as FINN writes them."""
    net = Net()
    x = net.input(2, 3, 3)
    dataflow = lowered(net.model(net.conv(x, net.weights(2, 2, 1, 1), name="a")))
    node = dataflow.model.get_node_from_name("a_steps")
    thresholds = np.arange(steps)[np.newaxis].repeat(2, axis=0).astype(np.float32)
    kind = f"INT{1 + max(steps + base, -base).bit_length()}" if base < 0 else f"UINT{(base + steps).bit_length()}"
    dataflow.model.set_initializer(node.input[1], thresholds)
    for key, value in (("numSteps", steps), ("ActVal", base), ("outputDataType", kind)):
        getCustomOp(node).set_nodeattr(key, value)
    ready = run_passes(dataflow, [Specialize(PART), Generate(PART, 100, tmp_path)], lambda *_: None)
    assert sorted(path.name for path in (tmp_path / "a_steps").glob("*.dat")) == [
        f"a_steps_threshs_0_{stage}.dat" for stage in range(stages)
    ]
    assert layer(ready, "a_steps").get_nodeattr("outputDataType") == kind


@dataclass(frozen=True)
class Wrong:
    """Changes one threshold of one layer: the highest is always reached."""

    layer: str
    name: str = "wrong"

    def apply(self, dataflow: Dataflow) -> Dataflow:
        changed = copy.deepcopy(dataflow.model)
        node = changed.get_node_from_name(self.layer)
        values = changed.get_initializer(node.input[1]).copy()
        values[0, -1] = -(2**20)
        changed.set_initializer(node.input[1], values)
        return dataflow.with_model(changed)


def test_a_wrong_pass_is_caught_and_named(model: onnx.ModelProto) -> None:
    dataflow = lowered(model)
    golden = goldens(dataflow, model)[0]
    checked = PassCheck(golden, [])
    right = np.asarray(golden.tensors["b"])
    with pytest.raises(CheckFailedError) as caught:
        run_passes(dataflow, [DuplicateForks(), Wrong("b_steps"), Specialize(PART)], checked)
    found = execute(Wrong("b_steps").apply(dataflow), golden.inputs(dataflow))["b"]
    wrong = int((dataflow.streams["b"].to_codes(found) != right).sum())
    assert wrong > 0
    expected = f"after pass wrong: tensor b differs from onnxruntime in {wrong} of {right.size} elements"
    assert str(caught.value) == expected
    assert [name for name, _ in checked.results] == ["forks"]


@dataclass(frozen=True)
class Losing:
    """Renames an output, so that nobody knows what it carries."""

    name: str = "losing"

    def apply(self, dataflow: Dataflow) -> Dataflow:
        changed = copy.deepcopy(dataflow.model)
        changed.rename_tensor("last", "elsewhere")
        return dataflow.with_model(changed)


def test_an_output_that_gets_lost_is_named(model: onnx.ModelProto) -> None:
    dataflow = lowered(model)
    with pytest.raises(CheckFailedError) as caught:
        run_passes(dataflow, [Losing()], PassCheck(goldens(dataflow, model)[0], []))
    assert str(caught.value) == "after pass losing: output last could not be compared"


def depthwise() -> onnx.ModelProto:
    net = Net()
    y = net.conv(net.input(4, 4, 4), net.weights(4, 1, 3, 3), name="dw", group=4, pads=[1] * 4)
    return net.model(net.head(y))


def test_layers_without_rtl_are_refused_by_name() -> None:
    dataflow = Specialize(PART).apply(lowered(depthwise()))
    with pytest.raises(UnsupportedError) as caught:
        rtl_only(dataflow, WHERE)
    assert str(caught.value) == "net.onnx: layer 'dw_sums' in rtlsim: VVAU_hls (HLS needs Vivado) is not supported"
    with pytest.raises(UnsupportedError):
        stitch(dataflow, WHERE)


def test_depthwise_products_are_executed_behind_fifos() -> None:
    """FINN's VVAU takes windows for interleaved unless a window layer is its direct producer."""
    model = depthwise()
    dataflow = lowered(model)
    checked = PassCheck(goldens(dataflow, model)[0], [])
    run_passes(dataflow, [Specialize(PART), WidthConverters(), Fifos(), Specialize(PART)], checked)
    kinds = {node.op_type for node in unspecialized(Specialize(PART).apply(dataflow).model).graph.node}
    assert kinds == {"FMPadding", "ConvolutionInputGenerator", "VVAU", "Thresholding"}
