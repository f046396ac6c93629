"""Random instructions: mostly legal and near the limits, now and then out of range."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from nibble.config import DpuConfig
from nibble.targets.dpu import isa

FLAG = st.integers(0, 1)
SEED = st.integers(0, 1 << 30)
BYTE = st.integers(-128, 127)
SMALL = st.integers(1, 4)
ADDRESS = st.one_of(st.integers(0, 40), st.integers(0, 1100))


def folds(dpu: DpuConfig) -> list[int]:
    """The values of `fold` that a hardware size has."""
    lanes = {fold: dpu.outputs >> fold for fold in range(3)}
    inputs, step = dpu.inputs, dpu.requantize_lanes
    return [fold for fold, n in lanes.items() if (n % inputs == 0 or 2 * n == inputs) and n % step == 0]


@st.composite
def convolutions(draw: st.DrawFn, dpu: DpuConfig, first: int = 1, last: int = 1, pair: int | None = None) -> isa.Conv:
    """A CONV; without `first` it may find sums of another kind, see dpu_spec.Entries."""
    pair = draw(FLAG) if pair is None else pair
    depthwise, raw = (0, 0) if pair else (draw(FLAG), draw(FLAG) & draw(FLAG))
    fold = draw(st.sampled_from(folds(dpu))) if last and not depthwise and not raw else 0
    kernel_h, kernel_w, rows, cols = draw(SMALL), draw(SMALL), draw(st.integers(1, 7)), draw(st.integers(1, 11))
    stride_h, stride_w = draw(st.integers(1, 3)), 1 if pair else draw(st.integers(1, 3))
    dilation_h, dilation_w = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    in_cols = (cols - 1) * stride_w + (kernel_w - 1) * dilation_w + draw(SMALL)
    plane = ((rows - 1) * stride_h + (kernel_h - 1) * dilation_h + 1) * in_cols
    return isa.Conv(
        first=first,
        last=last,
        depthwise=depthwise,
        raw=raw,
        table=0 if raw else draw(FLAG),
        features4=1 if pair else draw(FLAG),
        weights4=1 if pair else draw(FLAG),
        out4=0 if raw else draw(FLAG),
        pair=pair,
        fold=fold,
        address=draw(ADDRESS),
        in_cols=in_cols,
        plane=draw(st.sampled_from([plane, plane + 3, 0])),
        blocks=draw(st.integers(1, dpu.outputs // dpu.inputs)) if depthwise else draw(SMALL),
        w_address=draw(st.integers(0, 60)),
        kernel_h=kernel_h,
        kernel_w=kernel_w,
        stride_h=stride_h,
        stride_w=stride_w,
        out_rows=rows,
        out_cols=cols,
        dilation_h=dilation_h,
        dilation_w=dilation_w,
        out_address=draw(ADDRESS),
        acc_address=draw(st.integers(0, 100)),
        param_address=draw(st.integers(0, 36)),
        table_address=draw(st.integers(0, 7)),
        spare=draw(st.integers(0, max((dpu.outputs >> fold) // dpu.inputs - 1, 0))),
        zero=draw(BYTE),
        low=draw(BYTE),
        high=draw(BYTE),
    )


@st.composite
def convolution_chains(draw: st.DrawFn, dpu: DpuConfig) -> list[isa.Conv]:
    """Two to four CONVs that go on with one tile's entries; results may leave after each."""
    count, pair = draw(st.integers(2, 4)), draw(FLAG)
    chain = [draw(convolutions(dpu, int(n == 0), draw(FLAG) if n < count - 1 else 1, pair)) for n in range(count)]
    tile = {name: getattr(chain[0], name) for name in ("acc_address", "out_rows", "out_cols")}
    return [dataclasses.replace(conv, **tile) for conv in chain]


@st.composite
def pools(draw: st.DrawFn, dpu: DpuConfig) -> isa.Pool:
    kernel_h, kernel_w, rows, cols = draw(SMALL), draw(SMALL), draw(SMALL), draw(st.integers(1, 9))
    stride_h, stride_w = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    in_cols = (cols - 1) * stride_w + kernel_w + draw(st.integers(0, 2))
    plane = ((rows - 1) * stride_h + kernel_h) * in_cols
    from_output = draw(FLAG)
    units = dpu.output_bytes // dpu.unit_bytes // 2
    pool = isa.Pool(
        table=draw(FLAG),
        features4=draw(FLAG),
        from_output=from_output,
        out4=draw(FLAG),
        address=draw(st.integers(0, 40)),
        in_cols=in_cols,
        plane=draw(st.sampled_from([plane, plane + 1, 0])),
        blocks=draw(SMALL),
        kernel_h=kernel_h,
        kernel_w=kernel_w,
        stride_h=stride_h,
        stride_w=stride_w,
        out_rows=rows,
        out_cols=cols,
        # The input may not overlap the output: it lies in the first half of the memory, or where it is refused.
        out_address=units + draw(st.integers(0, 400)) if from_output else draw(ADDRESS),
        table_address=draw(st.integers(0, 8)),
    )
    pixels = pool.blocks * pool.plane + (rows * stride_h + kernel_h) * in_cols
    if from_output and pool.address * dpu.unit_bytes + pixels * dpu.inputs > dpu.output_bytes // 2:
        return dataclasses.replace(pool, from_output=0)
    return pool


SCALES = st.one_of(st.floats(2**-10, 4, width=32), st.floats(2**-120, 2**100, width=32))


def binaries(kind: type[isa.Add | isa.Multiply], dpu: DpuConfig) -> st.SearchStrategy[Any]:
    pixels = st.integers(1, 40)
    half = dpu.output_bytes // dpu.unit_bytes // 2
    return st.builds(
        kind,
        table=FLAG,
        features4=FLAG,
        b_features4=FLAG,
        out4=FLAG,
        from_output=FLAG,
        address=st.integers(0, half - 120),
        table_address=st.sampled_from([0, 2, 4, 5]),
        map_address=st.integers(0, 8),
        b_address=st.integers(0, half * 2),
        pixels=pixels,
        out_address=st.integers(half, 2 * half - 40),
        scale=SCALES,
        a_zero=BYTE,
        b_zero=BYTE,
        bias=st.integers(-32768, 32767),
        zero=BYTE,
        low=BYTE,
        high=BYTE,
    )


@st.composite
def feature_loads(draw: st.DrawFn, dpu: DpuConfig) -> isa.LoadFeatures:
    half, upsample = draw(FLAG), draw(FLAG)
    P = dpu.inputs // (2 if half else 1)
    dense = upsample or draw(FLAG)
    return isa.LoadFeatures(
        upsample=upsample,
        phase=draw(FLAG),
        flip=draw(FLAG),
        half=half,
        source=draw(st.integers(0, 30000)),
        block_stride=draw(st.integers(0, 1000)),
        row_stride=draw(st.integers(0, 300)),
        blocks=draw(SMALL),
        address=draw(ADDRESS),
        rows=draw(st.integers(1, 8)),
        width=draw(st.integers(0, 12)) * draw(st.sampled_from([1, P])),
        cols=draw(st.integers(1, 12)),
        pad_left=draw(st.integers(0, 3)) * draw(st.sampled_from([1, P])),
        pitch=P if dense else draw(st.integers(1, 2 * P)),
        lanes=P if dense else draw(st.integers(1, P)),
        pad_top=draw(st.integers(0, 3)),
        pad_bottom=draw(st.integers(0, 3)),
        pad=draw(st.integers(0, 255)),
    )
