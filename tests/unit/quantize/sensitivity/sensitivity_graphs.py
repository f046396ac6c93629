"""Small detectors with skips and several heads."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper
from quantize_graphs import build, conv, op


def branched() -> onnx.ModelProto:
    """Return two heads, of which one is read on, skips and a tensor with two readers."""
    return build(
        [
            conv("x", "c0", "w3"),
            op("LeakyRelu", ["c0"], "l0", alpha=0.1),
            conv("l0", "c1"),
            op("Sigmoid", ["c1"], "s1"),
            op("Mul", ["c1", "s1"], "m1"),
            op("Concat", ["l0", "m1"], "cat", axis=1),
            conv("cat", "y", "w8"),
            op("Add", ["y", "m1"], "sum"),
            conv("sum", "z"),
        ],
        ("y", "z"),
    )


def wide() -> onnx.ModelProto:
    """Return a first convolution, five inner ones, of which two read one tensor, and a head; named as exporters do."""
    return build(
        [
            conv("x", "/0/conv", "w3"),
            op("LeakyRelu", ["/0/conv"], "l0", alpha=0.1),
            conv("l0", "/1[a]"),
            op("LeakyRelu", ["/1[a]"], "l1", alpha=0.1),
            conv("l1", "/2"),
            conv("l1", "/3"),
            op("Add", ["/2", "/3"], "add"),
            conv("add", "/4"),
            conv("/4", "/5"),
            conv("/5", "y"),
        ]
    )


def heads() -> onnx.ModelProto:
    """Return a detector whose head decodes: one anchor and one class on each of 16 x 16 cells."""
    weight = np.random.default_rng(3).standard_normal((6, 4, 3, 3)).astype(np.float32)
    nodes = [
        conv("x", "c0", "w3"),
        op("LeakyRelu", ["c0"], "l0", alpha=0.1),
        conv("l0", "c1"),
        op("LeakyRelu", ["c1"], "l1", alpha=0.1),
        conv("l1", "c2"),
        conv("c2", "y", "w6", ""),
    ]
    return build(nodes, extra=[numpy_helper.from_array(weight, "w6")])


def chain() -> onnx.ModelProto:
    """Return three convolutions of uneven channels, each with weights of its own, with LeakyReLU between."""
    rng = np.random.default_rng(4)
    shapes = {"wa": (4, 3, 3, 3), "wb": (4, 4, 3, 3), "wc": (4, 4, 3, 3)}
    weights = {
        name: rng.standard_normal(shape) * [[[[0.1]]], [[[1]]], [[[3]]], [[[9]]]] for name, shape in shapes.items()
    }
    nodes = [
        conv("x", "c0", "wa", ""),
        op("LeakyRelu", ["c0"], "l0", alpha=0.1),
        conv("l0", "c1", "wb", ""),
        op("LeakyRelu", ["c1"], "l1", alpha=0.1),
        conv("l1", "y", "wc", ""),
    ]
    return build(
        nodes, extra=[numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()]
    )
