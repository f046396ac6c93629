from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dpu_graphs import chain, conv
from dpu_run import compiled

from nibble.config import load_dpu
from nibble.graph import ir
from nibble.targets.dpu.program import Layer
from nibble.targets.dpu.rates import rates

POOL = (ir.MaxPool, {"kernel": (3, 3), "strides": (1, 1), "pads": (0, 0, 0, 0)})


def layer(macs: int, limit: int = 512) -> Layer:
    fields: dict[str, Any] = {"name": "c", "operator": "Conv", "sources": (), "end": 0, "tensors": ()}
    return Layer(**fields, macs=macs, mac_per_cycle_limit=limit, predicted_cycles=0)


def test_convolutions_are_counted_with_and_without_the_first() -> None:
    found = rates([layer(51200), layer(0), layer(102400, 1024)], [200, 999, 150])
    assert found == {
        "mac_per_cycle_limit": 768.0,
        "conv_mac_per_cycle": pytest.approx(153600 / 350),
        "later_conv_mac_per_cycle": pytest.approx(102400 / 150),
    }


def test_layers_that_multiply_nothing() -> None:
    assert rates([layer(0)], [5]) == {
        "mac_per_cycle_limit": 512.0,
        "conv_mac_per_cycle": 0.0,
        "later_conv_mac_per_cycle": 0.0,
    }


def test_a_layer_of_two_columns_a_step_has_twice_the_limit() -> None:
    clip = {"requantize": ir.Requantize(np.full(12, 2.0**-8, np.float32), 3, 0, 15)}
    small = {"weights": np.ones((5, 12, 1, 1), np.int8), "weight_bits": 4}
    graph = chain((1, 9, 6, 6), conv(12, 9, **clip), POOL, conv(5, 12, **small))
    limits = [each.mac_per_cycle_limit for each in compiled(graph, load_dpu("tiny")).manifest.layers]
    assert limits == [128, 128, 256]
