"""ConvNBits: an integer convolution with 4-bit weights as one node, defined inside the model that uses it.

onnxruntime puts the body, standard operators, in the place of the call. `nibble` recognises the call.
"""

from __future__ import annotations

import onnx
from onnx import AttributeProto, FunctionProto, TensorProto, helper

from nibble.quantize.prepare import OPSET

NAME = "ConvNBits"
DOMAIN = "nibble"
VERSION = 1
WEIGHT = 3
"""Which input is the weight; all inputs are those of QLinearConv, in its order."""
_INPUTS = ("x", "x_scale", "x_zero_point", "w", "w_scale", "w_zero_point", "y_scale", "y_zero_point", "B")
_WINDOW = {
    "auto_pad": AttributeProto.STRING,
    "dilations": AttributeProto.INTS,
    "group": AttributeProto.INT,
    "kernel_shape": AttributeProto.INTS,
    "pads": AttributeProto.INTS,
    "strides": AttributeProto.INTS,
}
_DOC = (
    "QLinearConv with weights of few bits: y = saturate(round(x_scale * w_scale / y_scale * (conv(x - x_zero_point, w) "
    "+ B)) + y_zero_point). x and y are uint8, w [M, C / group, kh, kw] is INT4 with w_zero_point 0 (INT8), scales are "
    "float32, B is int32. `bits` says how many bits a weight has; the other attributes are those of Conv."
)


def definition() -> FunctionProto:
    """Return the function: Cast of the weights to INT8, then QLinearConv."""
    cast = helper.make_node("Cast", ["w"], ["w_int8"], to=TensorProto.INT8)
    inputs = ["w_int8" if name == "w" else name for name in _INPUTS]
    convolution = helper.make_node("QLinearConv", inputs, ["y"])
    for name, kind in _WINDOW.items():
        convolution.attribute.append(AttributeProto(name=name, type=kind, ref_attr_name=name))
    opset = [helper.make_opsetid("", OPSET)]
    function: FunctionProto = helper.make_function(
        DOMAIN, NAME, _INPUTS, ["y"], [cast, convolution], opset, attributes=["bits", *_WINDOW], doc_string=_DOC
    )
    return function


def define(model: onnx.ModelProto) -> None:
    """Add the function to a model that calls it."""
    model.functions.append(definition())
    model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))


def is_call(node: onnx.NodeProto) -> bool:
    """Tell whether `node` calls the function."""
    return bool(node.domain == DOMAIN and node.op_type == NAME)


def defines(model: onnx.ModelProto) -> bool:
    """Tell whether `model` holds this very function: another one of that name computes something else."""
    return any(function == definition() for function in model.functions)
