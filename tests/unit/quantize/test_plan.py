from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from quantize_graphs import build, conv, detector, op, tensor

from nibble.quantize.plan import FREE, INPUT, UNIT, Mode, Plan, make_plan


def plan_of(model: onnx.ModelProto, share: bool = True) -> Plan:
    return make_plan(model.graph, share)


def test_a_detector_is_integer_from_picture_to_head() -> None:
    plan = plan_of(detector())
    assert plan.modes == {
        "c0": Mode.CONV,
        "l0": Mode.UNARY,
        "c1": Mode.CONV,
        "l1": Mode.UNARY,
        "cat": Mode.CONCAT,
        "pool": Mode.MOVE,
        "y": Mode.HEAD,
    }
    assert plan.codes["x"] == INPUT
    assert "y" not in plan.codes


def test_concat_and_what_moves_share_one_scale() -> None:
    plan = plan_of(detector())
    assert len({plan.group(name) for name in ("l0", "l1", "cat", "pool")}) == 1
    assert plan.members("pool") == ["l0", "l1"]
    assert plan.group("c0") == "c0"


def test_concat_may_rescale_instead() -> None:
    plan = plan_of(detector(), share=False)
    assert len({plan.group(name) for name in ("l0", "l1", "cat")}) == 3
    assert plan.group("pool") == plan.group("cat")
    assert plan.sources == ["x", "c0", "l0", "c1", "l1", "cat"]


def test_tensors_of_different_families_never_share() -> None:
    nodes = [
        conv("x", "c0", "w3"),
        op("Relu", ["c0"], "r"),
        conv("r", "c1"),
        op("Sigmoid", ["c1"], "s"),
        op("Concat", ["r", "s"], "cat", axis=1),
        conv("cat", "y", "w8"),
    ]
    plan = plan_of(build(nodes))
    assert [plan.codes[name] for name in ("r", "s", "cat")] == ["clip at inf", UNIT, FREE]
    assert len({plan.group(name) for name in ("r", "s", "cat")}) == 3


@pytest.mark.parametrize(
    ("clip", "bounds", "family"),
    [
        (op("Relu", ["c0"], "r"), [], "clip at inf"),
        (op("Clip", ["c0", "zero", "six"], "r"), [("zero", 0.0), ("six", 6.0)], "clip at 6.0"),
        (op("Clip", ["c0", "zero"], "r"), [("zero", 0.0)], "clip at inf"),
    ],
)
def test_a_clip_at_zero_folds_into_its_producer(
    clip: onnx.NodeProto, bounds: list[tuple[str, float]], family: str
) -> None:
    extra = [tensor(name, value, np.float32) for name, value in bounds]
    plan = plan_of(build([conv("x", "c0", "w3"), clip, conv("r", "y")], extra=extra))
    assert plan.modes["r"] is Mode.FOLDED
    assert plan.stands_for == {"c0": "r"}
    assert plan.codes["r"] == family
    assert "c0" not in plan.codes


def test_relu_is_a_table_when_somebody_else_reads_its_input() -> None:
    nodes = [conv("x", "c0", "w3"), op("Relu", ["c0"], "r"), op("Add", ["c0", "r"], "a"), conv("a", "y")]
    plan = plan_of(build(nodes))
    assert plan.modes["r"] is Mode.TABLE
    assert plan.modes["a"] is Mode.BINARY


def test_clip_below_zero_is_a_table() -> None:
    nodes = [conv("x", "c0", "w3"), op("Clip", ["c0", "low"], "r"), conv("r", "y")]
    assert plan_of(build(nodes, extra=[tensor("low", -1, np.float32)])).modes["r"] is Mode.TABLE


def test_clip_at_a_computed_bound_stays_float() -> None:
    nodes = [conv("x", "c0", "w3"), op("ReduceMax", ["c0"], "top"), op("Clip", ["c0", "", "top"], "r"), conv("r", "y")]
    assert plan_of(build(nodes)).modes["r"] is Mode.FLOAT


@pytest.mark.parametrize("kind", ["Mish", "HardSwish", "Elu", "Gelu"])
def test_what_follows_an_activation_without_a_form_for_codes_is_integer(kind: str) -> None:
    nodes = [
        conv("x", "c0", "w3"),
        op(kind, ["c0"], "m"),
        conv("m", "c1"),
        op(kind, ["c1"], "n"),
        op("Add", ["m", "n"], "a"),
        op("Concat", ["a", "m"], "cat", axis=1),
        op("MaxPool", ["cat"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("pool", "y", "w8"),
    ]
    modes = plan_of(build(nodes)).modes
    assert [modes[name] for name in "mn"] == [Mode.TABLE] * 2
    assert [modes[name] for name in ("a", "cat", "pool", "y")] == [Mode.BINARY, Mode.CONCAT, Mode.MOVE, Mode.HEAD]


def test_what_has_no_8_bit_operator_stays_float_and_so_does_what_follows() -> None:
    nodes = [
        conv("x", "c0", "w3"),
        op("Softmax", ["c0"], "soft", axis=1),
        op("LeakyRelu", ["soft"], "l", alpha=0.1),
        op("Add", ["l", "c0"], "a"),
        conv("a", "y"),
    ]
    plan = plan_of(build(nodes))
    assert [plan.modes[name] for name in ("soft", "l", "a")] == [Mode.FLOAT] * 3
    assert plan.codes["a"] == FREE


def test_constant_operands_stay_float() -> None:
    nodes = [conv("x", "c0", "w3"), op("Mul", ["c0", "two"], "m"), conv("m", "y")]
    assert plan_of(build(nodes, extra=[tensor("two", 2, np.float32)])).modes["m"] is Mode.FLOAT


@pytest.mark.parametrize(
    ("attributes", "mode"),
    [
        ({"mode": "nearest"}, Mode.MOVE),
        ({"mode": "linear"}, Mode.FLOAT),
        ({"mode": "nearest", "coordinate_transformation_mode": "tf_crop_and_resize"}, Mode.FLOAT),
    ],
)
def test_only_the_nearest_resize_moves_bytes(attributes: dict[str, str], mode: Mode) -> None:
    nodes = [conv("x", "c0", "w3"), op("Resize", ["c0", "", "scales"], "r", **attributes), conv("r", "y")]
    extra = [tensor("scales", [1, 1, 2, 2], np.float32)]
    assert plan_of(build(nodes, extra=extra)).modes["r"] is mode


def test_maxpool_with_indices_stays_float() -> None:
    pool = helper.make_node("MaxPool", ["c0"], ["p", "indices"], name="p", kernel_shape=[2, 2])
    assert plan_of(build([conv("x", "c0", "w3"), pool, conv("p", "y")])).modes["p"] is Mode.FLOAT


def test_a_head_that_is_read_again_is_an_ordinary_convolution() -> None:
    plan = plan_of(build([conv("x", "y", "w3"), conv("y", "z")], outputs=["y", "z"]))
    assert plan.modes == {"y": Mode.CONV, "z": Mode.HEAD}


def test_computed_weights_stay_float() -> None:
    nodes = [op("Neg", ["w3"], "n"), op("Conv", ["x", "n"], "y")]
    assert plan_of(build(nodes)).modes["y"] is Mode.FLOAT


def test_input_concatenated_with_itself_keeps_its_scale() -> None:
    slices = [op("Slice", ["x", f"s{i}", f"e{i}", "axes"], f"p{i}") for i in range(2)]
    extra = [tensor("axes", [3], np.int64)]
    for index in range(2):
        extra += [tensor(f"s{index}", [8 * index], np.int64), tensor(f"e{index}", [8 * index + 8], np.int64)]
    nodes = [*slices, op("Concat", ["p0", "p1"], "cat", axis=3), conv("cat", "y", "w3")]
    plan = plan_of(build(nodes, extra=extra))
    assert plan.codes["cat"] == INPUT
    assert plan.group("cat") == plan.group("x")
