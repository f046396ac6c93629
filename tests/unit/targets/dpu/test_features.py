from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from dpu_graphs import chain, conv
from dpu_run import assert_exact, instructions
from hypothesis import given
from hypothesis import strategies as st

from nibble.config import load_dpu
from nibble.simulate.cppsim import Cppsim
from nibble.targets.dpu import isa, layout
from nibble.targets.dpu.context import Constants, Context
from nibble.targets.dpu.features import load_patch
from nibble.targets.dpu.geometry import Patch
from nibble.targets.dpu.layout import Buffer, Plane
from nibble.targets.dpu.unfold import Unfold

TINY = load_dpu("tiny")
LANES = TINY.inputs
PAD = -7
ROWS, COLS = 4, 5


def loaded_pixels(emitted: list[isa.Instruction], ddr: npt.NDArray[np.int8], pixels: int) -> npt.NDArray[np.int8]:
    """Run the loads on cppsim, copy `pixels` pixels out through the output memory, and return them (pixels, lanes)."""
    ready = [isa.LoadFeatures(**{**vars(load), "signal": 0}) for load in emitted]
    window = {"kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1}
    copy = isa.Pool(in_cols=pixels, blocks=1, out_rows=1, out_cols=pixels, **window)
    store = isa.Store(target=ddr.size, blocks=1, rows=1, width=pixels * LANES)
    program = b"".join(instruction.encode() for instruction in (*ready, copy, store, isa.End()))
    stored = ddr.size + pixels * LANES
    start = -(-stored // isa.INSTRUCTION_BYTES) * isa.INSTRUCTION_BYTES
    memory = np.zeros(start + len(program), np.uint8)
    memory[: ddr.size] = ddr.view(np.uint8).reshape(-1)
    memory[start:] = np.frombuffer(program, np.uint8)
    assert Cppsim(TINY).run(memory, start).error == "none"
    return memory[ddr.size : stored].view(np.int8).reshape(pixels, LANES)


def padded(map_: npt.NDArray[Any], patch: Patch) -> npt.NDArray[Any]:
    """The part of a map (rows, cols, ...) that the patch covers, PAD outside."""
    wide = np.pad(map_, ((9, 60), (9, 60), (0, 0)), constant_values=PAD)
    return wide[9 + patch.row :, 9 + patch.col :][: patch.rows, : patch.cols]


PATCHES = st.builds(Patch, st.integers(-9, 12), st.integers(-9, 12), st.integers(1, 9), st.integers(1, 9))
PLANES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.booleans()), min_size=1, max_size=5)


@given(PATCHES, PLANES)
def test_a_patch_of_any_planes_arrives_with_its_padding(patch: Patch, chosen: list[tuple[int, int, bool]]) -> None:
    buffers = [Buffer(name, 4, ROWS, COLS, LANES) for name in "ab"]
    planes = [Plane(buffers[which], block, upsample) for which, block, upsample in chosen]
    ddr = np.random.default_rng(1).integers(-128, 128, (2, 4, ROWS, COLS, LANES)).astype(np.int8)
    context = Context(TINY, {buffers[0]: 0, buffers[1]: buffers[0].bytes}, Constants(0))
    loaded = load_patch(context, planes, patch, PAD, "key")
    got = loaded_pixels(list(loaded.load.emit(0)), ddr, len(planes) * loaded.plane)
    for index, (which, block, upsample) in enumerate(chosen):
        pixels = ddr[which, block].repeat(1 + upsample, axis=0).repeat(1 + upsample, axis=1)
        plane = got[index * loaded.plane :][: loaded.plane].reshape(patch.rows, loaded.cols, LANES)
        assert np.array_equal(plane[:, loaded.lead : loaded.lead + patch.cols], padded(pixels, patch))
    assert loaded.load.size == len(planes) * loaded.plane * LANES // TINY.unit_bytes


@given(PATCHES, st.integers(1, 3), st.integers(2, 4), st.integers(1, 3))
def test_a_picture_arrives_with_a_kernel_row_in_every_word(patch: Patch, channels: int, taps: int, stride: int) -> None:
    taps = min(taps, LANES // channels)
    words = patch.cols
    patch = Patch(patch.row, patch.col, patch.rows, (words - 1) * stride + taps)
    picture = Buffer("x", 1, ROWS, COLS, channels, interleaved=True, flip=True)
    codes = np.random.default_rng(2).integers(0, 256, (ROWS, COLS, channels)).astype(np.uint8)
    loaded = load_patch(
        Context(TINY, {picture: 0}, Constants(0)), [Plane(picture, 0)], patch, PAD, "key", Unfold(taps, stride)
    )
    assert (loaded.cols, loaded.lead) == (words, 0)
    got = loaded_pixels(list(loaded.load.emit(0)), codes.view(np.int8), loaded.plane)
    expected = padded((codes ^ 0x80).view(np.int8), patch)
    for row, word in np.ndindex(patch.rows, words):
        taken = expected[row, word * stride : word * stride + taps].reshape(-1)
        assert np.array_equal(got[row * words + word, : taps * channels], taken)


def test_neighbouring_planes_are_loaded_by_one_instruction() -> None:
    buffer = Buffer("x", 6, ROWS, COLS, LANES)
    view = layout.whole(buffer, 6 * LANES, LANES)
    context, patch = Context(TINY, {buffer: 0}, Constants(0)), Patch(0, 0, ROWS, COLS)

    def count(*blocks: int) -> int:
        return len(load_patch(context, [view.planes[block] for block in blocks], patch, 0, "k").load.emit(0))

    assert count(0, 1, 2, 3) == 1
    assert count(0, 2, 4) == 1
    assert count(0, 1, 3) == 2
    assert count(3, 2) == 2
    assert count(2, 2) == 2


def test_the_first_layer_is_unfolded() -> None:
    graph = chain((1, 3, 20, 20), conv(8, 3, kernel=3, strides=(2, 2), pads=(1, 1, 1, 1)))
    (run,) = instructions(assert_exact(graph, load_dpu("z7020")))
    loads = [instruction for instruction in run if isinstance(instruction, isa.LoadFeatures)]
    convs = [instruction for instruction in run if isinstance(instruction, isa.Conv)]
    assert {(load.lanes, load.pitch, load.flip) for load in loads} == {(9, 6, 1)}
    assert {(c.kernel_h, c.kernel_w, c.stride_h, c.stride_w) for c in convs} == {(3, 1, 2, 1)}
