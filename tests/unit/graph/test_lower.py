from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nibble.errors import InputError, UnsupportedError
from nibble.graph.compare import Comparer, compare_outputs
from nibble.graph.feeds import random_feeds
from nibble.graph.ir import Add, Channels, Concat, Conv, Host, Lookup, MaxPool, Multiply
from nibble.graph.lower import lower
from nibble.graph.passes import optimize
from nibble.graph.prove import prove


def checked(model, *, hosts=0):
    """Lower, prove every node, compare every node and the optimized graph's outputs with onnxruntime."""
    graph = lower(model, "m.onnx")
    assert [proof for proof in prove(graph, "m.onnx") if not proof.proven] == []
    comparer = Comparer(graph)
    for feeds in random_feeds(graph.input_tensors(), 2):
        comparer.picture(feeds)
        outputs = compare_outputs(optimize(graph), feeds)
        assert outputs.elements.total() > 0
        assert outputs.mismatches.total() == 0
    assert comparer.comparison.mismatches.total() == 0
    assert sum(isinstance(node, Host) for node in graph.nodes) == hosts
    return graph


def kinds(graph):
    return [type(node) for node in graph.nodes]


def reasons(graph):
    return [node.reason for node in graph.nodes if isinstance(node, Host)]


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((6, 4, 3, 3), {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
        ((6, 4, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((6, 4, 2, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ((6, 4, 3, 3), {"auto_pad": "VALID"}),
        ((6, 2, 3, 3), {"group": 2, "dilations": [2, 2]}),
        ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
        ((6, 4, 1, 5), {"pads": [0, 2, 0, 2]}),
    ],
)
@pytest.mark.parametrize("w_scale", [0.01, "per channel"])
def test_conv(build, shape, attributes, w_scale):
    scales = np.linspace(0.002, 0.03, shape[0]) if w_scale == "per channel" else w_scale
    x = build.input(1, 4, 9, 8)
    graph = checked(build.model(build.conv(x, build.weights(*shape), scales, **attributes)))
    (node,) = graph.nodes
    assert isinstance(node, Conv)
    assert (node.groups, node.weight_bits, node.x_zero) == (attributes.get("group", 1), 8, 3)
    assert node.sources == (node.name,)


def test_conv_without_bias(build):
    graph = checked(build.model(build.conv(build.input(1, 4, 5, 5), build.weights(3, 4, 1, 1), bias=False)))
    assert graph.nodes[0].bias.tolist() == [0, 0, 0]


def test_unsigned_weights_become_signed(unsigned):
    b = unsigned
    stored = b.random.integers(0, 256, (3, 4, 3, 3)).astype(np.uint8)
    inputs = [b.input(1, 4, 5, 5), *b.scale(0.02, 3), b.const(stored, np.uint8), *b.scale(0.01, 128), *b.scale(0.05, 5)]
    (node,) = checked(b.model(b.node("QLinearConv", *inputs))).nodes
    assert np.array_equal(node.weights, stored.astype(int) - 128)


def test_unsigned_weights_that_leave_int8_stay_on_the_host(unsigned):
    b = unsigned
    stored = np.full((3, 4, 1, 1), 255)
    inputs = [b.input(1, 4, 5, 5), *b.scale(0.02, 3), b.const(stored, np.uint8), *b.scale(0.01, 0), *b.scale(0.05, 5)]
    graph = checked(b.model(b.leaky(b.node("QLinearConv", *inputs))), hosts=1)
    assert reasons(graph) == ["its weights less their zero point do not fit int8"]


def int4_weights(b, *shape):
    values = b.random.integers(-7, 8, shape)
    b.constants.append(helper.make_tensor("w4", TensorProto.INT4, shape, values.reshape(-1)))
    return b.node("Cast", "w4", to=TensorProto.INT8), values


def test_int4_weights(build):
    cast, values = int4_weights(build, 6, 4, 3, 3)
    (node,) = checked(build.model(build.conv(build.input(1, 4, 5, 5), cast, out=6))).nodes
    assert node.weight_bits == 4
    assert np.array_equal(node.weights, values)


def test_clipped_activations_are_four_bits(unsigned):
    b = unsigned
    leaky = b.leaky(b.conv(b.input(1, 4, 8, 8), b.weights(6, 4, 1, 1)))
    clipped = b.node("Clip", leaky, b.const(0, np.uint8), b.const(15, np.uint8))
    pooled = b.node("MaxPool", clipped, kernel_shape=[2, 2], strides=[2, 2])
    cast, _ = int4_weights(b, 3, 6, 1, 1)
    graph = checked(b.model(b.conv(pooled, cast, out=3)))
    bits = {name: tensor.bits for name, tensor in graph.tensors.items()}
    assert (bits[leaky], bits[clipped], bits[pooled]) == (8, 4, 4)
    assert kinds(optimize(graph)) == [Conv, Lookup, MaxPool, Conv]


def test_leaky_relu(build):
    graph = checked(build.model(build.leaky(build.conv(build.input(1, 4, 5, 5), build.weights(3, 4, 1, 1)))))
    assert kinds(graph) == [Conv, Lookup]
    assert len(graph.nodes[1].values) == 256


def test_silu_of_quantized_operators_is_one_table(build):
    b = build
    x = b.input(1, 4, 5, 5)
    sigmoid = b.node("QLinearSigmoid", x, *b.scale(0.05, 5), *b.scale(1 / 256, 0))
    y = b.node("QLinearMul", x, *b.scale(0.05, 5), sigmoid, *b.scale(1 / 256, 0), *b.scale(0.04, 10))
    graph = checked(b.model(y))
    assert kinds(graph) == [Lookup]
    assert len(graph.nodes[0].sources) == 2


def test_a_float_chain_between_codes_is_one_table(build):
    b = build
    x = b.node("DequantizeLinear", b.input(1, 4, 5, 5), *b.scale(0.05, 5))
    mish = b.node("Mul", x, b.node("Tanh", b.node("Softplus", x)))
    graph = checked(b.model(b.node("QuantizeLinear", mish, *b.scale(0.04, 10))))
    assert kinds(graph) == [Lookup]


def test_a_chain_that_differs_by_channel_stays_on_the_host(build):
    b = build
    x = b.node("DequantizeLinear", b.input(1, 4, 5, 5), *b.scale(0.05, 5))
    slope = b.node("Mul", x, b.const(np.arange(4).reshape(4, 1, 1)))
    y = b.node("QuantizeLinear", slope, *b.scale(0.04, 10))
    graph = checked(b.model(b.leaky(y)), hosts=1)
    assert "its function is not the same for every element" in reasons(graph)[0]
    assert graph.nodes[0].sources == (x, slope, y)


def test_concat_rescales_the_inputs_that_need_it(build):
    b = build
    x, z = b.input(1, 4, 5, 5), b.input(1, 2, 5, 5)
    y = b.node("QLinearConcat", *b.scale(0.05, 5), x, *b.scale(0.05, 5), z, *b.scale(0.02, 7), axis=1)
    graph = checked(b.model(y))
    assert kinds(graph) == [Lookup, Concat]
    assert graph.nodes[1].inputs == (x, f"{y}/rescaled_1")


def test_plain_concat_on_the_negative_axis(build):
    x, z = build.input(1, 4, 5, 5), build.input(1, 2, 5, 5)
    assert kinds(checked(build.model(build.leaky(build.node("Concat", x, z, axis=-3))))) == [Concat, Lookup]


def test_concat_over_rows_stays_on_the_host(build):
    x, z = build.input(1, 4, 5, 5), build.input(1, 4, 2, 5)
    graph = checked(build.model(build.leaky(build.node("Concat", x, z, axis=2))), hosts=1)
    assert reasons(graph) == ["it does not concatenate over channels"]


def test_split_and_slice_pick_channels(build):
    b = build
    _, second = b.node("Split", b.input(1, 6, 5, 5), b.const([4, 2], np.int64), count=2, axis=1)
    sliced = b.node("Slice", second, b.const([1], np.int64), b.const([2], np.int64), b.const([1], np.int64))
    graph = checked(b.model(b.leaky(sliced)))
    assert [node.indices for node in graph.nodes if isinstance(node, Channels)] == [(0, 1, 2, 3), (4, 5), (1,)]
    assert [node.indices for node in optimize(graph).nodes if isinstance(node, Channels)] == [(5,)]


def test_slice_of_rows_stays_on_the_host(build):
    b = build
    rows = b.node("Slice", b.input(1, 6, 5, 5), *(b.const([v], np.int64) for v in (1, 4, 2)))
    assert reasons(checked(b.model(b.leaky(rows)), hosts=1)) == ["it moves pixels, not only channels"]


def shuffle(b, x, inner, permutation, outer):
    moved = b.node("Transpose", b.node("Reshape", x, b.const(inner, np.int64)), perm=permutation)
    return b.node("Reshape", moved, b.const(outer, np.int64))


def test_channel_shuffle(build):
    y = shuffle(build, build.input(1, 6, 3, 4), [1, 2, 3, 3, 4], [0, 2, 1, 3, 4], [1, -1, 3, 4])
    graph = checked(build.model(build.leaky(y)))
    assert kinds(graph) == [Channels, Lookup]
    assert graph.nodes[0].indices == (0, 3, 1, 4, 2, 5)


def test_depth_to_space_by_hand_stays_on_the_host(build):
    y = shuffle(build, build.input(1, 4, 3, 3), [1, 2, 2, 3, 3], [0, 3, 1, 4, 2], [1, 1, 6, 6])
    graph = checked(build.model(build.leaky(y)), hosts=1)
    assert "it moves pixels, not only channels" in reasons(graph)[0]


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [5, 5], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [13, 13], "pads": [6, 6, 6, 6]},
    ],
)
def test_max_pool(build, attributes):
    graph = checked(build.model(build.leaky(build.node("MaxPool", build.input(1, 3, 8, 7), **attributes))))
    assert kinds(graph) == [MaxPool, Lookup]


def test_dilated_max_pool_stays_on_the_host(build):
    pooled = build.node("MaxPool", build.input(1, 3, 8, 7), kernel_shape=[2, 2], dilations=[2, 2])
    assert reasons(checked(build.model(build.leaky(pooled)), hosts=1)) == ["it is dilated"]


@pytest.mark.parametrize(("out_scale", "expected"), [(0.05, [MaxPool]), (0.03, [MaxPool, Lookup])])
def test_max_pool_of_dequantized_codes(build, out_scale, expected):
    b = build
    x = b.node("DequantizeLinear", b.input(1, 3, 8, 8), *b.scale(0.05, 5))
    pooled = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    assert kinds(checked(b.model(b.node("QuantizeLinear", pooled, *b.scale(out_scale, 5))))) == expected


@pytest.mark.parametrize("mode", ["asymmetric", "half_pixel"])
def test_nearest_resize(build, mode):
    b = build
    scales = b.const([1, 1, 2, 3])
    y = b.node("Resize", b.input(1, 3, 4, 5), "", scales, coordinate_transformation_mode=mode, nearest_mode="floor")
    if mode == "asymmetric":
        assert checked(b.model(b.leaky(y))).nodes[0].factors == (2, 3)
    else:
        graph = checked(b.model(b.leaky(y)), hosts=1)
        assert reasons(graph) == ["its nearest pixel is not x // factor"]


def test_linear_resize_stays_on_the_host(build):
    y = build.node("Resize", build.input(1, 3, 4, 4), "", build.const([1, 1, 2, 2]), mode="linear")
    graph = checked(build.model(build.leaky(y)), hosts=1)
    assert reasons(graph) == ["linear interpolation computes between codes"]


@pytest.mark.parametrize(("operator", "kind"), [("QLinearAdd", Add), ("QLinearMul", Multiply)])
def test_two_operands(build, operator, kind):
    b = build
    x, z = b.input(1, 3, 16, 16), b.input(1, 3, 16, 16)
    y = b.node(operator, x, *b.scale(0.05, 5), z, *b.scale(0.0321, 77), *b.scale(0.0789, 20))
    assert kinds(checked(b.model(y))) == [kind]


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
def test_broadcast_operands_stay_on_the_host(build, operator):
    b = build
    x, z = b.input(1, 3, 4, 4), b.input(1, 3, 1, 1)
    y = b.node(operator, x, *b.scale(0.05, 5), z, *b.scale(0.0321, 77), *b.scale(0.0789, 20))
    assert reasons(checked(b.model(b.leaky(y)), hosts=1)) == ["its operands broadcast"]


def integer_head(b, x, channels, bias=True):
    acc = b.node("ConvInteger", x, b.const(b.weights(channels, 4, 1, 1), np.int8), b.const(3, b.dtype))
    scaled = b.node("Mul", b.node("Cast", acc, to=TensorProto.FLOAT), b.const(np.full((1, channels, 1, 1), 0.0123)))
    return acc, b.node("Add", scaled, b.const(np.linspace(-1, 1, channels).reshape(-1, 1, 1))) if bias else scaled


@pytest.mark.parametrize("bias", [True, False])
def test_float_head_of_integer_accumulators(unsigned, bias):
    acc, y = integer_head(unsigned, unsigned.input(1, 4, 5, 5), 7, bias)
    graph = checked(unsigned.model(y))
    (node,), (head,) = graph.nodes, graph.heads
    assert node.requantize is None
    assert (head.name, head.tensor, head.scale.shape) == (y, acc, (7,))
    assert head.bias.shape == ((7,) if bias else ())
    assert graph.tensors[acc].bits == 32


def test_dequantized_head(build):
    conv = build.conv(build.input(1, 4, 5, 5), build.weights(3, 4, 1, 1))
    graph = checked(build.model(build.node("DequantizeLinear", conv, *build.scale(0.05, 5))))
    assert (graph.heads[0].tensor, graph.heads[0].zero, kinds(graph)) == (conv, 5, [Conv])


def test_an_output_of_codes_is_written_by_its_integer_node(build):
    graph = checked(build.model(build.conv(build.input(1, 4, 5, 5), build.weights(3, 4, 1, 1))))
    assert graph.nodes[0].outputs == (graph.outputs[0],)
    assert graph.heads == ()


def test_input_and_output_tails_run_on_the_host(build):
    b = build
    x = b.node("QuantizeLinear", b.input(1, 4, 5, 5, dtype="float32"), *b.scale(1 / 255, 3))
    conv = b.conv(x, b.weights(3, 4, 1, 1))
    flat = b.node("Reshape", conv, b.const([1, 3, 25], np.int64))
    y = b.node("DequantizeLinear", b.node("Transpose", flat, perm=[0, 2, 1]), *b.scale(0.05, 5))
    graph = checked(b.model(y), hosts=2)
    assert reasons(graph) == ["quantizes the input", "it changes the layout; dequantizes"]
    assert [len(node.sources) for node in graph.nodes] == [1, 1, 3]


def test_host_runs_merge_only_where_the_order_stays_acyclic(unsigned):
    """A host node before and after an integer one, and a short cut between the two: two runs, not one."""
    b = unsigned
    rows = b.node("Slice", b.input(1, 4, 6, 6), *(b.const([v], np.int64) for v in (0, 4, 2)))
    conv = b.conv(rows, b.weights(4, 4, 1, 1))
    joined = b.node("Concat", conv, rows, axis=2)
    graph = checked(b.model(b.leaky(joined)), hosts=2)
    assert kinds(graph) == [Host, Conv, Host, Lookup]


def test_dead_branches_are_not_lowered(unsigned):
    b = unsigned
    x = b.input(1, 4, 5, 5)
    b.leaky(x)
    assert len(checked(b.model(b.conv(x, b.weights(3, 4, 1, 1)))).nodes) == 1


def test_local_functions_are_inlined(unsigned):
    """A convolution of INT4 weights as a function of another domain (ConvNBits)."""
    b = unsigned
    x = b.input(1, 4, 5, 5)
    cast, _ = int4_weights(b, 6, 4, 3, 3)
    y = b.conv(x, cast, out=6)
    body = b.nodes[:]
    read = sorted({name for node in body for name in node.input} - {name for node in body for name in node.output})
    function = helper.make_function("nibble", "ConvNBits", read, [y], body, [helper.make_opsetid("", 21)])
    b.nodes[:] = [helper.make_node("ConvNBits", read, [y], domain="nibble")]
    model = b.model(y)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("nibble", 1))
    graph = checked(model)
    assert graph.nodes[0].weight_bits == 4


def test_initializers_listed_as_inputs_are_constants(unsigned):
    b = unsigned
    model = b.model(b.conv(b.input(1, 4, 5, 5), b.weights(3, 4, 1, 1)))
    model.graph.input.extend(
        helper.make_tensor_value_info(c.name, c.data_type, c.dims) for c in model.graph.initializer
    )
    assert len(checked(model).inputs) == 1


def test_unnamed_and_equally_named_nodes_get_names(unsigned):
    model = unsigned.model(unsigned.leaky(unsigned.conv(unsigned.input(1, 4, 5, 5), unsigned.weights(3, 4, 1, 1))))
    for node in model.graph.node:
        node.name = "same"
    assert len({node.name for node in checked(model).nodes}) == 2


def float_model(b):
    x = b.input(1, 4, 5, 5, dtype="float32")
    return b.model(b.node("Conv", x, b.const(np.ones((3, 4, 1, 1)))))


def test_qdq_is_refused(build):
    b = build
    x = b.node("DequantizeLinear", b.input(1, 4, 5, 5), *b.scale(0.05, 5))
    conv = b.node("Conv", x, b.const(np.ones((3, 4, 1, 1))))
    with pytest.raises(InputError) as error:
        lower(b.model(conv), Path("m.onnx"))
    assert str(error.value) == (
        f"m.onnx: found a QDQ graph (Conv '{conv}' reads DequantizeLinear), "
        "expected QOperator: run `nibble import onnx`, which rewrites QDQ"
    )


@pytest.mark.parametrize("quantized_weights", [False, True])
def test_a_float_convolution_among_integer_ones_runs_on_the_host(unsigned, quantized_weights):
    b = unsigned
    x = b.conv(b.input(1, 4, 5, 5), b.weights(3, 4, 1, 1))
    weight = b.const(np.ones((3, 3, 1, 1)))
    if quantized_weights:
        weight = b.node("DequantizeLinear", b.const(np.ones((3, 3, 1, 1)), np.int8), b.const(0.1))
    y = b.node("Conv", b.node("DequantizeLinear", x, *b.scale(0.05, 5)), weight)
    if quantized_weights:
        with pytest.raises(InputError, match="a QDQ graph"):
            lower(b.model(y), "m.onnx")
    else:
        assert kinds(lower(b.model(y), "m.onnx")) == [Conv, Host]


def test_a_float_model_is_refused(unsigned):
    with pytest.raises(InputError) as error:
        lower(float_model(unsigned), "m.onnx")
    assert str(error.value) == (
        "m.onnx: found no integer operator, expected a quantized model, as `nibble quantize` writes it"
    )


def test_dynamic_shapes_are_refused(unsigned):
    b = unsigned
    x = b.input("N", 4, 5, 5)
    with pytest.raises(InputError) as error:
        lower(b.model(b.conv(x, b.weights(3, 4, 1, 1))), "m.onnx")
    assert str(error.value) == (
        f"m.onnx: found input '{x}' of shape (N, 4, 5, 5), expected a static shape, as `nibble import onnx` fixes it"
    )


def test_batches_are_refused(unsigned):
    b = unsigned
    x = b.input(2, 4, 5, 5)
    with pytest.raises(UnsupportedError) as error:
        lower(b.model(b.conv(x, b.weights(3, 4, 1, 1))), "m.onnx")
    assert str(error.value) == f"m.onnx: input '{x}' with a batch of 2 is not supported"


def test_constant_outputs_are_refused(unsigned):
    b = unsigned
    constant = b.const([1.0])
    with pytest.raises(UnsupportedError) as error:
        lower(b.model(b.leaky(b.input(1, 4, 5, 5)), constant), "m.onnx")
    assert str(error.value) == f"m.onnx: output '{constant}', which does not depend on the input, is not supported"


def test_tensors_that_a_subgraph_captures_reach_the_host(unsigned):
    b = unsigned
    leaky = b.leaky(b.input(1, 4, 5, 5))
    branches = []
    for operator in ("Identity", "Not"):
        body = [
            helper.make_node("Cast", [leaky], ["bool"], to=TensorProto.BOOL),
            helper.make_node(operator, ["bool"], ["r"]),
        ]
        result = helper.make_tensor_value_info("r", TensorProto.BOOL, [1, 4, 5, 5])
        branches.append(helper.make_graph(body, operator, [], [result]))
    peak = b.node("ReduceMax", b.node("Cast", leaky, to=TensorProto.FLOAT), keepdims=0)
    chosen = b.node("If", b.node("Cast", peak, to=TensorProto.BOOL), then_branch=branches[0], else_branch=branches[1])
    graph = checked(b.model(chosen), hosts=1)
    assert kinds(graph) == [Lookup, Host]
    assert graph.nodes[1].inputs == (leaky,)


def test_what_onnxruntime_cannot_load_is_refused(unsigned):
    b = unsigned
    model = b.model(b.conv(b.input(1, 5, 5, 5), b.weights(3, 4, 1, 1)))
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(
        InputError, match=r"^m.onnx: found a model that onnxruntime cannot load \(.*\), expected one that"
    ):
        lower(model, "m.onnx")


def test_a_wrongly_declared_output_is_refused(unsigned):
    model = unsigned.model(unsigned.leaky(unsigned.input(1, 4, 5, 5)))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT16
    with pytest.raises(
        InputError, match=r"^m.onnx: found a model that onnxruntime cannot load \(.*int16.*\), expected one"
    ):
        lower(model, "m.onnx")


def test_wrongly_declared_shapes_are_not_trusted(unsigned):
    model = unsigned.model(unsigned.leaky(unsigned.input(1, 4, 5, 5)))
    declared = helper.make_tensor_value_info(model.graph.output[0].name, TensorProto.UINT8, (1, 4, 7, 7))
    model.graph.output[0].CopyFrom(declared)
    assert checked(model).tensors[declared.name].shape == (1, 4, 5, 5)


def test_sequences_are_refused(unsigned):
    b = unsigned
    model = b.model(b.node("SequenceConstruct", b.leaky(b.input(1, 4, 5, 5))))
    with pytest.raises(UnsupportedError, match=r"of type seq\(tensor\(uint8\)\) is not supported$"):
        lower(model, "m.onnx")


def test_the_published_nanodet(data):
    path = data / "models" / "nanodet_2022nov_int8_qoperator_416.onnx"
    graph = checked_once(onnx.load(path))
    assert Counter(type(node).__name__ for node in graph.nodes) == {
        "Conv": 73,
        "Lookup": 74,
        "Channels": 48,
        "Concat": 16,
        "Host": 11,
        "Add": 4,
        "MaxPool": 1,
    }
    assert reasons(graph) == [
        "quantizes the input",
        *["linear interpolation computes between codes"] * 4,
        *["it changes the layout; dequantizes"] * 6,
    ]


def checked_once(model):
    graph = lower(model, "m.onnx")
    (feeds,) = random_feeds(graph.input_tensors(), 1)
    outputs = compare_outputs(optimize(graph), feeds)
    assert outputs.mismatches.total() == 0
    return graph
