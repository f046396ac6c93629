"""The C++ of FINN's HLS layers: what is said where headers are missing; with them, every layer against Python."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("finn")

import finn_nets
from finn_nets import Net
from qonnx.custom_op.registry import getCustomOp

from nibble.errors import CheckFailedError, InputError, NibbleError, UnsupportedError
from nibble.simulate import hls_cppsim
from nibble.simulate.hls_cppsim import SHIM, Headers, check_hls, find_headers, hls_layers, tools, verify
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.library import open_finn
from nibble.targets.finn.passes import DuplicateForks, Specialize, WidthConverters, run_passes

PART = finn_nets.PART
IN_RTL = ("FMPadding", "ConvolutionInputGenerator", "Pool")
FOLDS = {
    "MVAU": {"PE": 2, "SIMD": 4},
    "VVAU": {"PE": 2},
    "UpsampleNearestNeighbour": {"SIMD": 4},
    "StreamingConcat": {"SIMD": 2},
    "DuplicateStreams": {"PE": 4},
    "ConvolutionInputGenerator": {"SIMD": 2},
}
LAYERS = {
    "MVAU_hls": "a_sums",
    "Thresholding_hls": "a_steps",
    "VVAU_hls": "d_sums",
    "UpsampleNearestNeighbour_hls": "u_upsampled",
    "StreamingConcat_hls": "c_joined",
    "DuplicateStreams_hls": "a_steps_fork",
    "StreamingDataWidthConverter_hls": "a_sums_width",
}


@pytest.fixture(autouse=True, scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_finn(tmp_path_factory.mktemp("finn"))
    from nibble.targets.finn.rtl_layers import register

    register()


@pytest.fixture(scope="module")
def model() -> Any:
    """Convolution, fork; one way to a depthwise convolution and upsampling; both joined."""
    net = Net()
    a = net.same(net.input(4, 4, 4), 8, 4, name="a")
    d = net.conv(net.pool(a, name="p"), net.weights(8, 1, 3, 3, most=7), pads=[1] * 4, group=8, name="d")
    return net.model(net.head(net.concat(net.upsample(d, name="u"), a, name="c")))


@pytest.fixture(scope="module")
def dataflow(model: Any) -> Dataflow:
    return _in_hls(DuplicateForks().apply(finn_nets.lowered(model)))


@pytest.fixture(scope="module")
def inputs(dataflow: Dataflow, model: Any) -> dict[str, Any]:
    return finn_nets.goldens(dataflow, model)[0].inputs(dataflow)


@pytest.fixture
def headers() -> Headers:
    try:
        return find_headers()
    except NibbleError as error:
        pytest.skip(f"opt-in: {error}")


@pytest.fixture
def empty_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Headers:
    """Headers with nothing in them."""
    for path in (tmp_path / "deps" / "finn-hlslib" / "bnn-library.h", tmp_path / "types" / "ap_int.h"):
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setenv("FINN_DEPS", str(tmp_path / "deps"))
    monkeypatch.setenv("HLS_HEADERS", str(tmp_path / "types"))
    monkeypatch.delenv("XILINX_HLS", raising=False)
    return find_headers()


def _in_hls(dataflow: Dataflow) -> Dataflow:
    for node in dataflow.model.graph.node:
        for key, value in FOLDS.get(node.op_type, {}).items():
            getCustomOp(node).set_nodeattr(key, value)
    done = run_passes(_prefer_hls(dataflow), [Specialize(PART), WidthConverters()], lambda *_: None)
    return Specialize(PART).apply(_prefer_hls(done))


def _prefer_hls(dataflow: Dataflow) -> Dataflow:
    for node in dataflow.model.graph.node:
        if node.domain.endswith("fpgadataflow") and node.op_type not in IN_RTL:
            getCustomOp(node).set_nodeattr("preferred_impl_style", "hls")
    return dataflow


def test_finn_hlslib_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINN_DEPS", str(tmp_path))
    with pytest.raises(NibbleError) as raised:
        find_headers()
    wanted = f"needs finn-hlslib in {tmp_path}/finn-hlslib: finn deps update --batch fetches it"
    assert str(raised.value) == f"cppsim of HLS layers {wanted}"
    assert tools() == {}


def test_ap_int_is_missing(empty_headers: Headers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HLS_HEADERS")
    wanted = "needs ap_int.h: set XILINX_HLS to Vitis HLS, or HLS_HEADERS (docs/finn-cppsim.md says how)"
    for vitis in ("", str(tmp_path)):
        monkeypatch.setenv("XILINX_HLS", vitis)
        with pytest.raises(NibbleError) as raised:
            find_headers()
        assert str(raised.value) == f"cppsim of HLS layers {wanted}"


def test_the_folder_named_has_no_ap_int(
    empty_headers: Headers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HLS_HEADERS", str(tmp_path))
    with pytest.raises(InputError) as raised:
        find_headers()
    expected = "a folder with it (docs/finn-cppsim.md says how)"
    assert str(raised.value) == f"HLS_HEADERS: found {tmp_path} without ap_int.h, expected {expected}"


def test_our_streams_come_before_those_beside_ap_int(empty_headers: Headers, tmp_path: Path) -> None:
    assert empty_headers.options[0] == f"-I{SHIM}"
    assert empty_headers.options[-1] == f"-I{tmp_path / 'types'}"
    assert list(tools()) == ["finn-hlslib"]


def test_vitis_hls_brings_its_own_streams(
    empty_headers: Headers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HLS_HEADERS")
    monkeypatch.setenv("XILINX_HLS", str(tmp_path))
    (tmp_path / "types").rename(tmp_path / "include")
    found = find_headers()
    assert found == Headers(tmp_path / "deps" / "finn-hlslib", tmp_path / "include", own_streams=False)
    assert not any(str(SHIM) in option for option in found.options)


def test_the_build_says_that_nothing_was_run(
    dataflow: Dataflow, inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINN_DEPS", str(tmp_path))
    said = verify(dataflow, inputs, tmp_path)
    assert said["hls"] == len(hls_layers(dataflow)) > len(LAYERS)
    assert said["cppsim"].startswith("not run: cppsim of HLS layers needs finn-hlslib in ")


def test_without_hls_layers_nothing_is_asked_for(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINN_DEPS", str(tmp_path))
    assert verify(finn_nets.lowered(model), {}, tmp_path) == {"hls": 0}


def test_the_compiler_fails(dataflow: Dataflow, inputs: Any, empty_headers: Headers, tmp_path: Path) -> None:
    with pytest.raises(NibbleError) as raised:
        check_hls(dataflow, inputs, empty_headers, tmp_path / "code", names=["a_sums"])
    log = tmp_path / "code" / "a_sums" / "execute_MVAU_hls.log"
    assert str(raised.value) == f"layer a_sums: g++ could not compile FINN's C++ of it; its messages are in {log}"
    assert "error" in log.read_text()


def test_the_compiler_is_missing(
    dataflow: Dataflow, inputs: Any, empty_headers: Headers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NibbleError, match=r"^cppsim needs the C\+\+ compiler g\+\+, which was not found: install it "):
        check_hls(dataflow, inputs, empty_headers, tmp_path, names=["a_sums"])


def test_finn_writes_no_program(dataflow: Dataflow, inputs: Any, empty_headers: Headers, tmp_path: Path) -> None:
    broken = dataflow.with_model(copy.deepcopy(dataflow.model))
    node = next(node for node in hls_layers(broken) if node.name == "a_sums")
    getCustomOp(node).set_nodeattr("TH", 2)
    with pytest.raises(UnsupportedError, match=r"^a_sums: MVAU_hls in cppsim \(.*tiled MVAU.*\) is not supported$"):
        check_hls(broken, inputs, empty_headers, tmp_path, names=["a_sums"])


STREAM = """
#include <cassert>
#include <hls_stream.h>
int main(int argc, char**) {
    hls::stream<int> s("s");
    int x = 0;
    assert(s.empty() && !s.full() && !s.read_nb(x));
    s << 1; s.write(2); assert(s.write_nb(3) && s.size() == 3);
    s >> x; assert(x == 1 && s.read() == 2);
    if (argc == 2) return 0;
    assert(s.read_nb(x) && x == 3);
    if (argc == 3) s.read();
}
"""


@pytest.mark.parametrize(
    ("case", "said"), [([], ""), (["left"], "holds words at the end"), (["too", "many"], "is read when it is empty")]
)
def test_streams_of_our_own(case: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "s.cpp").write_text(STREAM)
    program = tmp_path / "s"
    subprocess.run(
        ["g++", "-std=c++17", "-Wall", "-Werror", f"-I{SHIM}", "s.cpp", "-o", program], cwd=tmp_path, check=True
    )
    done = subprocess.run([program, *case], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == ((1, f"stream s {said}\n") if said else (0, ""))


@pytest.mark.parametrize("operator", LAYERS)
def test_bit_exact(operator: str, dataflow: Dataflow, inputs: Any, headers: Headers, tmp_path: Path) -> None:
    (found,) = check_hls(dataflow, inputs, headers, tmp_path, names=[LAYERS[operator]])
    assert found.operator == operator
    assert found.elements >= 32
    assert found.mismatches == 0


def test_a_difference_is_counted(
    dataflow: Dataflow, inputs: Any, headers: Headers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = hls_cppsim.execute(dataflow, inputs)
    node = next(node for node in hls_layers(dataflow) if node.name == "a_steps")
    values[node.output[0]] = values[node.output[0]].copy()
    values[node.output[0]].flat[7] += 1
    monkeypatch.setattr(hls_cppsim, "execute", lambda *_: values)
    monkeypatch.setattr(hls_cppsim, "hls_layers", lambda _: [node])
    with pytest.raises(CheckFailedError) as raised:
        verify(dataflow, inputs, tmp_path)
    what = "Thresholding_hls in C++ differs from Python in 1 of 128 elements"
    assert str(raised.value) == f"layer a_steps: {what}"


def test_integers_that_float32_does_not_hold(
    dataflow: Dataflow, inputs: Any, headers: Headers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        name: np.where(value == value.max(), 2.0**25, value)
        for name, value in hls_cppsim.execute(dataflow, inputs).items()
    }
    monkeypatch.setattr(hls_cppsim, "execute", lambda *_: values)
    with pytest.raises(UnsupportedError) as raised:
        check_hls(dataflow, inputs, headers, tmp_path, names=["u_upsampled"])
    what = "cppsim, whose files are float32, of integers beyond 2^24"
    assert str(raised.value) == f"u_upsampled: {what} is not supported"
