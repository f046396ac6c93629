"""FINN's layers as they are generated, in Verilator, against FINN's Python and onnxruntime: two frames, stalls or not.

Many small branches in one design: a build costs seconds, a branch little.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("finn")

from finn_cut import cut
from finn_nets import PART, WHERE, Net, folded, goldens, lowered

from nibble.errors import CheckFailedError, NibbleError
from nibble.simulate.dataflow import Golden, PassCheck, compare, execute
from nibble.simulate.rtlsim import Simulator
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.library import open_finn
from nibble.targets.finn.passes import DuplicateForks, Fifos, Generate, Specialize, WidthConverters, run_passes
from nibble.targets.finn.stitch import stitch

STALLS = (0.0, 0.4)


@pytest.fixture(scope="module", autouse=True)
def _finn(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_finn(tmp_path_factory.mktemp("finn"))
    from nibble.targets.finn.rtl_layers import register

    register()


class Branches:
    """A network of branches that have nothing in common, and how their layers are folded."""

    def __init__(self) -> None:
        self.nets: dict[str, Net] = {}
        self.outputs: list[str] = []
        self.folding: dict[str, dict[str, Any]] = {}
        self.net = Net()
        self.signed = Net("int8", seed=1)

    def start(self, name: str, channels: int, height: int, width: int, signed: bool = False, zero: int = 0) -> Any:
        net = self.signed if signed else self.net
        return net, net.input(channels, height, width, zero=zero, name=f"{name}_x")

    def end(self, net: Net, x: str) -> None:
        self.outputs.append(x)

    def fold(self, **layers: dict[str, Any]) -> None:
        self.folding |= layers

    def model(self, signed: bool) -> onnx.ModelProto:
        net = self.signed if signed else self.net
        made = {name for node in net.nodes for name in node.output}
        return net.model(*[name for name in self.outputs if name in made])


def branches() -> Branches:
    b = Branches()
    net, x = b.start("pad", 4, 5, 5, zero=7)
    b.end(net, net.conv(x, net.weights(6, 4, 3, 3, most=7), name="pad", pads=[1, 0, 2, 1]))
    b.fold(pad_padded={"SIMD": 2}, pad_window={"SIMD": 4}, pad_sums={"PE": 3, "SIMD": 12}, pad_steps={"PE": 2})

    net, x = b.start("par", 3, 7, 7)
    x = net.conv(x, net.weights(4, 3, 3, 3, most=7), name="par", strides=[2, 2])
    b.end(net, net.clip(x, None, 15, name="par_clip"))
    b.fold(par_window={"SIMD": 3, "parallel_window": 1}, par_sums={"PE": 4, "SIMD": 27}, par_clip_steps={"PE": 4})

    net, x = b.start("dil", 2, 6, 7)
    b.end(net, net.conv(x, net.weights(4, 2, 3, 2), name="dil", dilations=[1, 2], pads=[1, 2, 1, 2], zero=30))
    b.fold(dil_padded={"SIMD": 1}, dil_window={"SIMD": 2}, dil_sums={"PE": 1, "SIMD": 4}, dil_steps={"PE": 4})

    net, x = b.start("one", 4, 4, 4)
    b.end(net, net.conv(x, np.abs(net.weights(4, 4, 1, 1, most=7)), name="one", strides=[2, 2], zero=255))
    b.fold(one_window={"SIMD": 4}, one_sums={"PE": 2, "SIMD": 1}, one_steps={"PE": 1})

    net, x = b.start("leak", 2, 4, 4)
    x = net.leaky(net.conv(x, net.weights(4, 2, 1, 1), name="leak", zero=60), name="leak_act", zero=25)
    b.end(net, net.conv(x, net.weights(3, 4, 3, 3, most=7), name="next", pads=[1, 1, 1, 1]))
    b.fold(leak_act_steps={"PE": 2}, next_window={"SIMD": 2}, next_sums={"PE": 1, "SIMD": 9}, next_steps={"PE": 3})

    net, x = b.start("few", 2, 3, 3)
    x = net.conv(x, 0 * net.weights(4, 2, 1, 1), name="few", bias=np.array([-999, 0, 7, 999]))
    x = net.conv(net.clip(x, 9, 10, name="few_clip"), net.weights(2, 4, 1, 1), name="few_next")
    b.end(net, net.clip(x, 4, 4, name="few_last"))
    b.fold(few_sums={"PE": 4}, few_clip_steps={"PE": 4}, few_next_sums={"PE": 2, "SIMD": 4}, few_last_steps={"PE": 2})

    net, x = b.start("neck", 4, 6, 6)
    small = net.pool(x, name="neck_pool")
    b.end(net, net.concat(net.upsample(small, name="neck_up"), x, name="neck_join"))
    b.end(net, small)
    b.fold(neck_pool_window={"SIMD": 2}, neck_pool_largest={"PE": 2}, neck_up_upsampled={"SIMD": 4})
    b.fold(neck_join_joined={"SIMD": 2}, neck_pool_largest_fork={"PE": 1})

    net, x = b.start("spool", 6, 5, 5, signed=True)
    b.end(net, net.pool(x, 3, 2, name="spool", pads=[1, 1, 1, 1]))
    b.fold(spool_padded={"SIMD": 3}, spool_window={"SIMD": 2}, spool_largest={"PE": 2})

    net, x = b.start("sconv", 3, 5, 5, signed=True, zero=5)
    b.end(net, net.conv(x, net.weights(4, 3, 3, 3), name="sconv", zero=-128))
    b.end(net, net.sums(x, net.weights(2, 3, 1, 1), "ssum"))
    b.fold(sconv_window={"SIMD": 1}, sconv_sums={"PE": 4, "SIMD": 3}, ssum_int_sums={"PE": 2})
    return b


def generated(
    dataflow: Dataflow, golden: Golden, folding: dict[str, dict[str, Any]], folder: Path, fifo: int = 256
) -> Dataflow:
    """The dataflow after all passes, each checked."""
    forked = run_passes(dataflow, [DuplicateForks()], PassCheck(golden, []))
    passes = [Specialize(PART), WidthConverters(), Fifos({}, fifo), Specialize(PART), Generate(PART, 100, folder)]
    return run_passes(folded(forked, **folding), passes, PassCheck(golden, []))


@pytest.fixture(scope="module", params=[False, True], ids=["unsigned", "signed"])
def design(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    all_branches = branches()
    model = all_branches.model(request.param)
    dataflow = lowered(model)
    references = goldens(dataflow, model)
    ready = generated(dataflow, references[0], all_branches.folding, tmp_path_factory.mktemp("rtl"))
    return ready, [references[0], references[3]], Simulator(stitch(ready, WHERE))


@pytest.mark.parametrize("stall", STALLS)
def test_every_branch_equals_onnxruntime(design: Any, stall: float) -> None:
    dataflow, references, simulator = design
    run = simulator.run([golden.inputs(dataflow) for golden in references], stall=stall, seed=3)
    for golden, outputs in zip(references, run.outputs, strict=True):
        compared = compare(dataflow.streams, outputs, golden, "rtlsim")
        assert compared.bit_exact
        assert compared.tensors == len(dataflow.outputs)


def test_widths_that_do_not_divide_are_converted(design: Any) -> None:
    dataflow, _, _ = design
    names = {node.name for node in dataflow.model.graph.node if "DataWidth" in node.op_type}
    assert names & {"pad_sums_width", "spool_padded_width"}, "3 elements a beat to 2"


PARTS = (("pad_sums",), ("leak_act_steps",), ("neck_pool_window", "neck_pool_largest"), ("ssum_int_sums",))


def test_layers_cut_out_of_the_network(design: Any) -> None:
    names = {node.name for node in design[0].model.graph.node}
    found = [part for part in PARTS if names.issuperset(part)]
    assert found
    for part in found:
        check_part(design, part)


def check_part(design: Any, layers: Sequence[str]) -> None:
    dataflow, references, _ = design
    part = cut(dataflow, [name for layer in layers for name in (layer, f"{layer}_fifo")])
    values = [execute(dataflow, golden.inputs(dataflow)) for golden in references]
    frames = [{stream.name: value[stream.name] for stream in part.inputs} for value in values]
    for stall in STALLS:
        run = Simulator(stitch(part, WHERE)).run(frames, stall=stall)
        for value, outputs in zip(values, run.outputs, strict=True):
            assert len(outputs) == 1
            for name, found in outputs.items():
                np.testing.assert_array_equal(found, value[name])


def parallel(height: int, width: int) -> tuple[onnx.ModelProto, dict[str, dict[str, Any]]]:
    net = Net()
    y = net.conv(net.input(2, height, width), net.weights(2, 2, 3, 3, most=7), name="a")
    whole = {"SIMD": 18, "PE": 2}
    return net.model(y), {"a_window": {"SIMD": 2, "parallel_window": 1}, "a_sums": whole, "a_steps": {"PE": 2}}


def test_finns_parallel_windows_are_wrong_with_two_a_row(tmp_path: Path) -> None:
    """That is why nibble's folding takes none there."""
    model, folding = parallel(4, 4)
    dataflow = lowered(model)
    golden, _, _, other = goldens(dataflow, model)
    ready = generated(dataflow, golden, folding, tmp_path)
    run = Simulator(stitch(ready, WHERE)).run([other.inputs(ready)])
    with pytest.raises(CheckFailedError, match=r"^rtlsim: tensor a differs from onnxruntime in "):
        compare(ready.streams, run.outputs[0], other, "rtlsim")


def test_what_finn_cannot_generate_is_named(tmp_path: Path) -> None:
    model, folding = parallel(3, 3)
    dataflow = lowered(model)
    with pytest.raises(NibbleError) as caught:
        generated(dataflow, goldens(dataflow, model)[0], folding, tmp_path)
    expected = "layer 'a_window': FINN cannot generate ConvolutionInputGenerator_rtl"
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
