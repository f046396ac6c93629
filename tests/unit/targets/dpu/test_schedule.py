from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from dpu_graphs import chain, conv, graphs, sizes
from dpu_run import assert_exact, compiled, instructions
from hypothesis import given, settings

from nibble.config import DpuConfig, load_dpu
from nibble.graph import ir
from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import QUEUE_CAPACITY, Queue
from nibble.targets.dpu.program import Program

Z7020 = load_dpu("z7020")


def most_tokens(program: Program) -> int:
    """The fullest a queue gets in program order; every wait finds its token, and END finds none left."""
    most = 0
    for run in instructions(program):
        tokens = Counter[Queue]()
        for instruction in run:
            tokens.subtract(queue for queue in Queue if instruction.wait & queue)
            assert min(tokens.values(), default=0) >= 0
            tokens.update(queue for queue in Queue if instruction.signal & queue)
            most = max(most, *tokens.values(), 0)
        assert not any(tokens.values())
    return most


@settings(deadline=None, max_examples=50)
@given(graphs(), sizes())
def test_every_token_given_is_taken(graph: ir.IntegerGraph, dpu: DpuConfig) -> None:
    assert most_tokens(compiled(graph, dpu)) <= QUEUE_CAPACITY


def test_more_tiles_than_a_queue_counts() -> None:
    small = {"accumulators": 2, "feature_bytes": 8192, "output_bytes": 4096}
    pixel_tiles = Z7020.model_copy(update=small)
    pool = (ir.MaxPool, {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 1, 1)})
    program = assert_exact(chain((1, 5, 24, 24), conv(7, 5), pool, conv(3, 7)), pixel_tiles)
    (run,) = instructions(program)
    assert sum(isinstance(instruction, isa.Conv) for instruction in run) == 2 * 24 * 24
    assert 100 < most_tokens(program) <= QUEUE_CAPACITY


def test_weights_that_fit_are_loaded_once() -> None:
    (run,) = instructions(compiled(chain((1, 16, 40, 40), conv(32, 16)), Z7020))
    assert sum(isinstance(instruction, isa.Conv) for instruction in run) > 1
    assert sum(isinstance(instruction, isa.LoadWeights) for instruction in run) == 2


def test_a_load_waits_for_the_stores_that_it_reads() -> None:
    (run,) = instructions(compiled(chain((1, 16, 1, 1), conv(16, 16), conv(16, 16)), Z7020))
    loads = [instruction for instruction in run if isinstance(instruction, isa.LoadFeatures)]
    stores = [instruction for instruction in run if isinstance(instruction, isa.Store)]
    assert [bool(load.wait & Queue.STORED) for load in loads] == [False, True]
    assert [bool(store.signal & Queue.STORED) for store in stores] == [True, False]


@pytest.mark.parametrize(("channels", "layer"), [(16, conv(160, 16)), (96, conv(96, 1, groups=96))])
def test_accumulators_alternate_from_tile_to_tile_and_group_to_group(channels: int, layer: Any) -> None:
    (run,) = instructions(compiled(chain((1, channels, 13, 13), layer), Z7020))
    starts = [i.acc_address for i in run if isinstance(i, isa.Conv) and i.first]
    assert len(starts) > 2
    assert starts == [turn % 2 * (Z7020.accumulators // 2) for turn in range(len(starts))]
