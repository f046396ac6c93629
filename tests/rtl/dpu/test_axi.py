from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from axi_bench import RTL, AxiBench, BenchError, Requests, words_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.config import load_board
from nibble.errors import NibbleError
from nibble.simulate.axi import DECERR, SLVERR, MemoryModel, axi_harness, memory_of
from nibble.simulate.verilator import Module, build_library

BUSES = (8, 16)
SIZE = 20_003
STALLS = (0.0, 0.3, 0.8)


def memory(seed: int = 0, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def expected_words(data: np.ndarray, ranges: list[tuple[int, int]], bus: int) -> np.ndarray:
    padded = np.zeros((len(data) // bus + 1) * bus, np.uint8)
    padded[: len(data)] = data
    words = [word for offset, count in ranges for word in words_of(offset, count, bus)]
    return padded.reshape(-1, bus)[words]


def ends(ranges: list[tuple[int, int]], bus: int) -> list[bool]:
    return [word == words[-1] for words in (words_of(*r, bus) for r in ranges) for word in words]


def words_to_write(ranges: list[tuple[int, int]], bus: int, seed: int = 1) -> np.ndarray:
    count = sum(len(words_of(*r, bus)) for r in ranges)
    return np.random.default_rng(seed).integers(0, 256, (count, bus), dtype=np.uint8)


def write(data: np.ndarray, ranges: list[tuple[int, int]], words: np.ndarray, bus: int) -> None:
    """Do the writes in NumPy."""
    position = 0
    for offset, count in ranges:
        touched = words_of(offset, count, bus)
        block = words[position : position + len(touched)].reshape(-1)
        data[offset : offset + count] = block[offset % bus :][:count]
        position += len(touched)


def edge_ranges(bus: int) -> list[tuple[int, int]]:
    """Every alignment in a word and around a burst and 4 KB, with the lengths that end there or just beside."""
    lengths = (1, 2, bus - 1, bus, bus + 1, 15 * bus, 16 * bus - 1, 16 * bus, 16 * bus + 1, 17 * bus, 33 * bus)
    starts = [*range(bus + 1), *(4096 - k for k in range(bus + 1)), 4096 - 16 * bus, 4096 - 16 * bus - 1]
    return [(start, length) for start in starts for length in lengths]


def shuffled_apart(bus: int) -> list[tuple[int, int]]:
    return [edge_ranges(bus)[i] for i in np.random.default_rng(0).permutation(len(edge_ranges(bus)))]


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("bus", BUSES)
def test_reads_every_alignment_and_length(bus: int, stall: float) -> None:
    data, ranges = memory(), shuffled_apart(bus)
    with AxiBench(bus, data, MemoryModel(latency=7, stall=stall, jitter=9)) as bench:
        read, _, _ = bench.run(Requests(ranges, stall=stall))
    np.testing.assert_array_equal(read.data, expected_words(data, ranges, bus))
    np.testing.assert_array_equal(read.lasts, ends(ranges, bus))
    assert (read.range_errors, read.axi_errors) == (0, 0)


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("bus", BUSES)
def test_writes_every_alignment_and_length(bus: int, stall: float) -> None:
    data, ranges = memory(), shuffled_apart(bus)
    words, expected = words_to_write(ranges, bus), memory()
    write(expected, ranges, words, bus)
    with AxiBench(bus, data, MemoryModel(latency=7, stall=stall, jitter=9)) as bench:
        _, wrote, _ = bench.run(writes=Requests(ranges, words, stall))
    np.testing.assert_array_equal(data, expected)
    assert (wrote.done, wrote.range_errors, wrote.axi_errors) == (len(ranges), 0, 0)


@st.composite
def some_ranges(draw: st.DrawFn) -> list[tuple[int, int]]:
    ranges = []
    for _ in range(draw(st.integers(1, 12))):
        offset = draw(st.integers(0, SIZE - 1))
        ranges.append((offset, draw(st.integers(1, min(3000, SIZE - offset)))))
    return ranges


@settings(max_examples=60, deadline=None)
@given(
    reads=some_ranges(),
    writes=some_ranges(),
    bus=st.sampled_from(BUSES),
    stall=st.sampled_from(STALLS),
    client=st.sampled_from(STALLS),
    latency=st.integers(0, 90),
    rate=st.sampled_from([None, 1.3, 14.0]),
    seed=st.integers(0, 1000),
)
def test_reads_and_writes_at_once(
    reads: list[tuple[int, int]],
    writes: list[tuple[int, int]],
    bus: int,
    stall: float,
    client: float,
    latency: int,
    rate: float | None,
    seed: int,
) -> None:
    """Reads are from below what is written, so that no order matters."""
    below = -(-SIZE // bus) * bus
    data = np.concatenate([memory(0, below), memory(1)])
    shifted = [(below + offset, count) for offset, count in writes]
    words, expected = words_to_write(shifted, bus), data.copy()
    write(expected, shifted, words, bus)
    model = MemoryModel(latency, rate, stall, jitter=13, seed=seed)
    with AxiBench(bus, data, model) as bench:
        read, wrote, _ = bench.run(Requests(reads, stall=client), Requests(shifted, words, client), 1_000_000)
    np.testing.assert_array_equal(read.data, expected_words(expected, reads, bus))
    np.testing.assert_array_equal(read.lasts, ends(reads, bus))
    np.testing.assert_array_equal(data, expected)
    assert wrote.done == len(writes)


@pytest.mark.parametrize("bus", BUSES)
def test_nothing_is_asked_nothing_moves(bus: int) -> None:
    with AxiBench(bus, memory(), MemoryModel()) as bench:
        read, wrote, cycles = bench.run()
    assert (read.moved, wrote.moved) == (0, 0)
    assert cycles < 20


@pytest.mark.parametrize("bus", BUSES)
def test_a_word_a_cycle_in_spite_of_the_latency(bus: int) -> None:
    data, ranges = memory(size=1 << 18), [(i << 14, 1 << 14) for i in range(16)]
    words = words_to_write(ranges, bus)
    with AxiBench(bus, data, MemoryModel(latency=100)) as bench:
        read, _, _ = bench.run(Requests(ranges))
        _, wrote, _ = bench.run(writes=Requests(ranges, words))
    assert read.last_cycle < len(words) + 130
    assert wrote.last_cycle < len(words) * 1.02 + 130


def test_rows_of_a_feature_map_come_at_nine_tenths_of_the_bus() -> None:
    """13 pixels of 16 bytes, one request a row, at the latency of the PYNQ-Z2."""
    data, ranges = memory(size=1 << 18), [(row * 1664 + 208, 208) for row in range(150)]
    with AxiBench(8, data, MemoryModel(latency=60)) as bench:
        read, _, _ = bench.run(Requests(ranges))
    assert 150 * 26 / read.last_cycle > 0.9


def test_the_bandwidth_is_shared() -> None:
    data, ranges = memory(size=1 << 16), [(0, 1 << 15)]
    upper = [(1 << 15, 1 << 15)]
    with AxiBench(8, data, MemoryModel(bytes_per_cycle=4.0)) as bench:
        read, wrote, _ = bench.run(Requests(ranges), Requests(upper, words_to_write(upper, 8)))
    for side in (read, wrote):
        assert side.last_cycle == pytest.approx((1 << 16) / 4, rel=0.01)


def stream(model: MemoryModel, ranges: list[tuple[int, int]], size: int = 1 << 17) -> float:
    """Return the bytes per cycle of reads of `ranges`, the first latency aside."""
    data = memory(size=size)
    with AxiBench(8, data, model) as bench:
        read, _, _ = bench.run(Requests(ranges))
    np.testing.assert_array_equal(read.data, expected_words(data, ranges, 8))
    return sum(count for _, count in ranges) / (read.last_cycle - model.latency)


ROWS = {"banks": 8, "page_bytes": 2048, "row_miss": 5}


def test_refresh_takes_its_share() -> None:
    """Of the DDR's time; a port that wants less than the DDR gives does not feel it, as its bursts are ahead."""
    whole, refreshed = [(0, 1 << 17)], {"refresh_every": 1170, "refresh_for": 39}
    for rate, expected in ((8.0, 8 * (1 - 39 / 1170)), (4.0, 4 * (1 - 39 / 1170)), (14.0, 8)):
        assert stream(MemoryModel(60, rate), whole) == pytest.approx(min(8, rate), rel=0.01)
        assert stream(MemoryModel(60, rate, **refreshed), whole) == pytest.approx(expected, rel=0.01)


def test_rows_in_turn_cost_nothing_and_rows_of_one_bank_do() -> None:
    """Bursts in order find the next bank open; a burst of another row waits for the one before in the same bank."""
    assert stream(MemoryModel(latency=60, **ROWS), [(0, 1 << 17)]) == pytest.approx(8, rel=0.01)
    bank = 8 * 2048
    jumping = [(row * bank + 128 * part, 128) for part in range(16) for row in range(8)]
    assert stream(MemoryModel(latency=60, **ROWS), jumping) == pytest.approx(8, rel=0.01)
    slow = MemoryModel(latency=60, bytes_per_cycle=8.0, **ROWS)
    assert stream(slow, jumping) == pytest.approx(128 / (16 + 5), rel=0.02)
    apart = [(row * bank + 2048 * row + 128 * part, 128) for part in range(16) for row in range(7)]
    assert stream(slow, apart) == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize("banks_apart", [0, 1])
def test_two_masters_share_the_boards_ddr(banks_apart: int) -> None:
    """They get its 14 bytes a cycle but for the refresh, and for the rows where they always want the same bank."""
    data, lower, upper = memory(size=9 << 14), [(0, 1 << 16)], [((1 << 16) + 2048 * banks_apart, 1 << 16)]
    with AxiBench(8, data, memory_of(load_board("pynq-z2"))) as bench:
        read, wrote, _ = bench.run(Requests(lower), Requests(upper, words_to_write(upper, 8)))
    assert 0.93 < (1 << 17) / max(read.last_cycle, wrote.last_cycle) / 14 < 1 - 260 / 7800


def test_a_load_on_the_boards_ddr_comes_as_fast_as_its_bus() -> None:
    assert stream(memory_of(load_board("pynq-z2")), [(0, 1 << 17)]) == pytest.approx(8, rel=0.01)


@settings(max_examples=25, deadline=None)
@given(
    reads=some_ranges(),
    banks=st.sampled_from([1, 8]),
    rate=st.sampled_from([None, 3.0]),
    every=st.sampled_from([0, 50]),
    stall=st.sampled_from(STALLS),
)
def test_rows_and_refresh_change_no_data(
    reads: list[tuple[int, int]], banks: int, rate: float | None, every: int, stall: float
) -> None:
    model = MemoryModel(
        9, rate, stall, banks=banks, page_bytes=1024, row_miss=30, refresh_every=every, refresh_for=every // 3
    )
    data, expected = memory(), memory()
    above = [(SIZE // 2, 300)]
    words = words_to_write(above, 8)
    write(expected, above, words, 8)
    with AxiBench(8, data, model) as bench:
        bench.run(writes=Requests(above, words))
        read, _, _ = bench.run(Requests(reads), cycles=1_000_000)
    np.testing.assert_array_equal(read.data, expected_words(expected, reads, 8))
    np.testing.assert_array_equal(data, expected)


def test_refreshes_that_take_longer_than_they_come_are_refused() -> None:
    with pytest.raises(ValueError, match="a refresh takes at most all the time"):
        MemoryModel(refresh_every=10, refresh_for=11).structure()


@pytest.mark.parametrize(
    ("offset", "count"),
    [(SIZE, 1), (SIZE - 1, 2), (0, SIZE + 1), (0xFFFFFFFF, 1), (0xFFFFFFFF, 0xFFFFFF), (0xFFFFFF00, 0x200)],
)
@pytest.mark.parametrize("bus", BUSES)
def test_a_range_beyond_the_end_is_refused_alone(bus: int, offset: int, count: int) -> None:
    data, good = memory(), [(5, 300), (SIZE - 40, 40)]
    ranges = [good[0], (offset, count), good[1]]
    words, expected = words_to_write(good, bus), memory()
    write(expected, good, words, bus)
    with AxiBench(bus, data, MemoryModel(stall=0.2)) as bench:
        read, _, _ = bench.run(Requests(ranges))
        _, wrote, _ = bench.run(writes=Requests(ranges, words))
    np.testing.assert_array_equal(read.data, expected_words(memory(), good, bus))
    np.testing.assert_array_equal(data, expected)
    assert (read.range_errors, wrote.range_errors, wrote.done) == (1, 1, 2)


@pytest.mark.parametrize("response", [1, SLVERR, DECERR])
@pytest.mark.parametrize("bus", BUSES)
def test_error_responses(bus: int, response: int) -> None:
    data, ranges = memory(), [(0, 1000), (4000, 800), (9000, 500)]
    words = words_to_write(ranges, bus)
    model = MemoryModel(error_range=(4400, 4401), error_response=response, stall=0.3)
    with AxiBench(bus, data, model) as bench:
        read, _, _ = bench.run(Requests(ranges))
        _, wrote, _ = bench.run(writes=Requests(ranges, words))
    before = len(words_of(0, 1000, bus)) + (4400 // bus - 4000 // bus)
    assert read.axi_errors == 1
    assert read.error_word <= before
    np.testing.assert_array_equal(read.data[:before], expected_words(memory(), ranges, bus)[:before])
    assert (wrote.axi_errors, wrote.done) == (1, 3)
    assert wrote.error_word <= 1


def test_the_nth_burst_is_in_error() -> None:
    with AxiBench(8, memory(), MemoryModel(error_burst=3)) as bench:
        read, _, _ = bench.run(Requests([(0, 128 * 5)]))
    assert read.axi_errors == 16


@settings(max_examples=80, deadline=None)
@given(
    bus=st.sampled_from(BUSES),
    stall=st.sampled_from(STALLS),
    after=st.integers(0, 400),
    length=st.integers(0, 300),
    latency=st.integers(0, 90),
    seed=st.integers(0, 1000),
)
def test_abort_ends_in_order_and_the_next_run_works(
    bus: int, stall: float, after: int, length: int, latency: int, seed: int
) -> None:
    data, ranges = memory(), [(i * 1900 + i, 1700 + i) for i in range(10)]
    words = words_to_write(ranges, bus, seed)
    written = memory()
    write(written, ranges, words, bus)
    with AxiBench(bus, data, MemoryModel(latency, None, stall, jitter=20, seed=seed)) as bench:
        read, wrote, _ = bench.run(
            Requests(ranges, stall=stall), Requests(ranges, words, stall), abort_after=after, abort_for=length
        )
        assert ((data == memory()) | (data == written)).all()
        again = [(3, 700), (4000, 300)]
        before = data.copy()
        words = words_to_write([(9001, 2000)], bus)
        write(before, [(9001, 2000)], words, bus)
        read, wrote, _ = bench.run(Requests(again), Requests([(9001, 2000)], words))
    np.testing.assert_array_equal(read.data, expected_words(before, again, bus))
    np.testing.assert_array_equal(data, before)
    assert (wrote.done, read.axi_errors, wrote.axi_errors) == (1, 0, 0)


@pytest.mark.parametrize("after", range(0, 60, 3))
def test_a_short_abort_drains_as_well(after: int) -> None:
    data, ranges = memory(), [(0, 1000), (3000, 1000)]
    with AxiBench(8, data, MemoryModel(latency=20, stall=0.3, seed=after)) as bench:
        bench.run(Requests(ranges), Requests(ranges, words_to_write(ranges, 8)), abort_after=after, abort_for=1)
        read, wrote, _ = bench.run(Requests([(5000, 500)]), Requests([(9, 9)], words_to_write([(9, 9)], 8)))
    np.testing.assert_array_equal(read.data, expected_words(memory(), [(5000, 500)], 8))
    assert wrote.done == 1


def test_written_bytes_are_seen_after_their_response_alone() -> None:
    """A read of what was just written, without waiting for `done`, finds the old bytes."""
    data, ranges = memory(), [(0, 8)]
    with AxiBench(8, data, MemoryModel(latency=50)) as bench:
        read, wrote, _ = bench.run(Requests(ranges), Requests(ranges, words_to_write(ranges, 8)))
    np.testing.assert_array_equal(read.data, expected_words(memory(), ranges, 8))
    assert wrote.done == 1


def test_a_request_that_is_never_served_is_told() -> None:
    with (
        AxiBench(8, memory(), MemoryModel(latency=200)) as bench,
        pytest.raises(BenchError, match="not idle after 100"),
    ):
        bench.run(Requests([(0, 8)]), cycles=100)


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [("BusBytes", 12, "BusBytes (12) must be 8 or 16."), ("Bursts", 3, "Depth (3) must be a power of 2, at least 2.")],
)
def test_parameters_are_refused_in_words(parameter: str, value: int, message: str) -> None:
    module = Module("axi_bench", (*RTL, Path(__file__).parent / "axi_bench.sv"), parameters=((parameter, value),))
    with pytest.raises(NibbleError) as raised:
        build_library(module, axi_harness(Path(__file__).parent / "axi_harness.cpp"))
    assert message in str(raised.value)
