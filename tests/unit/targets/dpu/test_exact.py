"""Random graphs compute on the DPU what the reference computes, on any hardware size, in any order of its engines."""

from __future__ import annotations

from dpu_graphs import graphs, sizes
from dpu_run import assert_exact
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.config import DpuConfig, load_dpu
from nibble.graph import ir

BUILT_IN = st.sampled_from([load_dpu("tiny"), load_dpu("z7020")])


@settings(deadline=None, max_examples=150)
@given(graphs(), st.one_of(sizes(), BUILT_IN))
def test_every_tensor_equals_the_reference(graph: ir.IntegerGraph, dpu: DpuConfig) -> None:
    assert_exact(graph, dpu)
