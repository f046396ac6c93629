"""Random networks, compiled: engines run concurrently with no more tokens than they need, and DDR is of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core_bench import DDRS, ODD, TINY, core
from dpu_graphs import graphs
from dpu_run import assert_equal, compiled
from hypothesis import HealthCheck, given, settings

from nibble.config import DpuConfig
from nibble.graph import ir, reference
from nibble.graph.feeds import random_feeds
from nibble.simulate.axi import MemoryModel
from nibble.simulate.execute import Execution, as_floats


@pytest.mark.parametrize("dpu", [TINY, ODD], ids=lambda dpu: dpu.name)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=graphs(), memory=DDRS)
def test_every_tensor_equals_the_reference(dpu: DpuConfig, graph: ir.IntegerGraph, memory: MemoryModel) -> None:
    """Twice on one core: with a stop after every layer, then in one go."""
    program = compiled(graph, dpu)
    feeds = next(random_feeds(graph.input_tensors(), 1))
    expected = reference.run(graph, feeds)
    execution = Execution(program, core(dpu, memory))
    start = program.manifest.image_address
    execution.memory[:start] = np.random.default_rng(memory.seed).integers(0, 256, start, np.uint8)
    seen: dict[str, Any] = {}
    for observe in (seen.__setitem__, None):
        results = execution.run(feeds, observe)
        for name in graph.outputs:
            assert_equal(name, as_floats(results[name]), expected[name], "rtlsim")
    for name, got in seen.items():
        assert_equal(name, got, expected[name], "rtlsim")
