"""FINN's own way from QONNX to thresholds, as an independent witness of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from nibble.graph.passes import optimize
from nibble.graph.prove import lower_proven
from nibble.paths import EMBEDDED_MODELS

pytest.importorskip("finn")

from nibble.targets.finn.library import open_finn
from nibble.targets.finn.lower import lower

GOLDEN = EMBEDDED_MODELS / "lpyolo-faces-4w4a.onnx"
QONNX = EMBEDDED_MODELS / "lpyolo-faces-4w4a-qonnx.onnx"


@pytest.mark.filterwarnings("ignore:Assuming 4D input")
def test_streamlined_thresholds_are_ours(tmp_path: Path) -> None:
    open_finn(tmp_path)
    theirs = [thresholds for thresholds in streamlined(QONNX) if len(thresholds) > 1]  # all but the input's
    graph, _ = lower_proven(onnx.load(GOLDEN), GOLDEN)
    model = lower(optimize(graph), str(GOLDEN)).model
    ours = [model.get_initializer(node.input[1]) for node in model.graph.node if node.op_type == "Thresholding"]
    assert len(ours) == len(theirs) == 9
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


def streamlined(path: Path) -> list[Any]:
    """Return the thresholds of a QONNX file as FINN+ streamlines, rounds and clips them, in the order of its layers."""
    import finn.transformation.streamline.absorb as absorb
    from finn.transformation.qonnx.convert_qonnx_to_finn import ConvertQONNXtoFINN
    from finn.transformation.streamline import Streamline
    from finn.transformation.streamline.reorder import MakeMaxPoolNHWC
    from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.fold_constants import FoldConstants
    from qonnx.transformation.general import GiveReadableTensorNames, GiveUniqueNodeNames
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes
    from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul

    tidy = [InferShapes(), FoldConstants(), GiveUniqueNodeNames(), GiveReadableTensorNames(), InferDataTypes()]
    lowered = [Streamline(), LowerConvsToMatMul(), MakeMaxPoolNHWC(), absorb.AbsorbTransposeIntoMultiThreshold()]
    rounded = [Streamline(), InferDataTypes(), RoundAndClipThresholds()]
    model = ModelWrapper(str(path))
    for transformation in [*tidy, ConvertQONNXtoFINN(), *lowered, *rounded]:
        model = model.transform(transformation)
    nodes = [node for node in model.graph.node if node.op_type == "MultiThreshold"]
    return [model.get_initializer(node.input[1]) for node in nodes]
