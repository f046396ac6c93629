"""The instruction set as hw/isa/isa.yaml words it, in slow NumPy: every address is listed, nothing is derived.

Runs in plain program order. Independent of hw/model, but for the decoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nibble.config import DpuConfig
from nibble.targets.dpu import isa

Array = npt.NDArray[Any]


class RefusedError(Exception):
    """An instruction is refused."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class UnspecifiedError(Exception):
    """A CONV without `first` finds sums that another kind of CONV left."""


def refuse(condition: Any, name: str) -> None:
    if condition:
        raise RefusedError(name)


def ranges(**counts: int) -> list[Array]:
    """One index array per count, each along its own axis."""
    return list(np.ix_(*(np.arange(count, dtype=np.int64) for count in counts.values())))


def elements(memory: Array, bits: int) -> Array:
    """The memory's signed elements of 4 or 8 bits; the even one of two is in the low nibble."""
    if bits == 8:
        return memory.view(np.int8).astype(np.int64)
    nibbles = np.stack([memory & 15, memory >> 4], 1).reshape(-1).astype(np.int64)
    return (nibbles ^ 8) - 8


def requantize(acc: Array, scale: Array, i: Any) -> Array:
    with np.errstate(over="ignore"):
        y = np.rint(acc.astype(np.int32).astype(np.float32) * scale.astype(np.float32)).astype(np.float64) + i.zero
    return np.minimum(np.maximum(y, i.low), i.high).astype(np.int64)


def fma(a: Array, scale: float, c: Array) -> Array:
    """float32(a * scale + c) with one rounding: the product is exact in float64, the sum is rounded to odd there."""
    x, y = a.astype(np.float64) * scale, c.astype(np.float64)
    total = x + y
    back = total - x
    error = (x - (total - back)) + (y - back)
    even = total.view(np.int64) % 2 == 0
    odd = np.where((error != 0) & even, np.nextafter(total, np.where(error > 0, np.inf, -np.inf)), total)
    return odd.astype(np.float32)


class Entries:
    """The kind of CONV that each accumulator entry was written by: what may go on with it."""

    def __init__(self, dpu: DpuConfig) -> None:
        self.kinds: list[tuple[int, ...]] = [()] * dpu.accumulators

    def write(self, i: isa.Conv) -> None:
        """Let a CONV write its entries. Raises UnspecifiedError when it goes on with those of another kind."""
        kind = (i.acc_address, i.out_rows, i.out_cols) if i.pair else ()
        entries = slice(i.acc_address, i.acc_address + i.out_rows * (-(-i.out_cols // 2) if i.pair else i.out_cols))
        if not i.first and set(self.kinds[entries]) != {kind}:
            raise UnspecifiedError
        self.kinds[entries] = [kind] * len(self.kinds[entries])


class Spec:
    """One hardware size; on-chip memories begin as zeros."""

    def __init__(self, dpu: DpuConfig, ddr: Array) -> None:
        self.dpu, self.ddr, self.lanes = dpu, ddr, dpu.inputs
        self.features = np.zeros(dpu.feature_bytes, np.uint8)
        self.weights = np.zeros(dpu.weight_bytes, np.uint8)
        self.parameters = np.zeros(dpu.parameter_entries * 8, np.uint8)
        self.tables = np.zeros(dpu.table_count * 256, np.uint8)
        self.output = np.zeros(dpu.output_bytes, np.uint8)
        self.accumulators = np.zeros((dpu.accumulators, dpu.outputs), np.int64)
        self.pairs = np.zeros((dpu.accumulators, 2, dpu.outputs), np.int64)
        self.entries = Entries(dpu)

    def run(self, address: int) -> tuple[str, int]:
        """Run the program at byte `address`; return the error and where it happened."""
        tokens = [0] * len(isa.Queue)
        while True:
            try:
                if self.step(address, tokens):
                    return "none", 0
            except RefusedError as refused:
                return refused.name, address
            address += isa.INSTRUCTION_BYTES

    def step(self, address: int, tokens: list[int]) -> bool:
        refuse(address % 32, "illegal_instruction")
        refuse(address + 32 > len(self.ddr), "ddr_range")
        try:
            i = isa.decode(self.ddr[address : address + 32].tobytes())
        except ValueError:
            raise RefusedError("illegal_instruction") from None
        refuse(i.wait & ~isa.WAITABLE[i.ENGINE] or i.signal & ~isa.SIGNALABLE[i.ENGINE], "illegal_instruction")
        for queue in range(len(tokens)):
            refuse(i.wait >> queue & 1 and not tokens[queue], "deadlock")
            refuse(i.signal >> queue & 1 and tokens[queue] == isa.QUEUE_CAPACITY, "deadlock")
        if isinstance(i, isa.End):
            return True
        getattr(self, type(i).__name__.lower())(i)
        for queue in range(len(tokens)):
            tokens[queue] += (i.signal >> queue & 1) - (i.wait >> queue & 1)
        return False

    def base(self, address: int) -> int:
        return address * self.lanes // 2

    def feature_sources(self, i: isa.LoadFeatures, P: int) -> Array:
        """The DDR byte of every byte written, -1 for padding: shape (blocks, rows, cols, P)."""
        k, r, c, lane = ranges(k=i.blocks, r=i.rows, c=i.cols, l=P)
        q = c * i.pitch + lane - i.pad_left
        inside = (r >= i.pad_top) & (r < i.rows - i.pad_bottom) & (lane < i.lanes) & (q >= 0) & (q < i.width)
        row = r - i.pad_top
        if i.upsample:
            row, q = (row + i.phase) >> 1, ((q // P) >> 1) * P + q % P
        return np.where(inside & (k >= 0), i.source + k * i.block_stride + row * i.row_stride + q, -1)

    def loadfeatures(self, i: isa.LoadFeatures) -> None:
        P = self.lanes // 2 if i.half else self.lanes
        refuse(not (i.blocks and i.rows and i.cols and i.pitch and i.lanes) or i.lanes > P, "illegal_instruction")
        refuse(i.upsample and not i.pitch == i.lanes == P, "illegal_instruction")
        source = self.feature_sources(i, P)
        refuse(source.max() >= len(self.ddr), "ddr_range")
        target = self.base(i.address)
        refuse(target + source.size > len(self.features), "feature_range")
        flip = 0 if not i.flip else 0x88 if i.half else 0x80
        values = np.where(source >= 0, self.ddr[np.maximum(source, 0)] ^ flip, i.pad)
        self.features[target : target + source.size] = values.reshape(-1)

    def loadweights(self, i: isa.LoadWeights) -> None:
        refuse(i.bytes == 0 or i.bytes % 16 or i.source % 16, "illegal_instruction")
        refuse(i.source + i.bytes > len(self.ddr), "ddr_range")
        name = ("weight", "parameter", "table")[i.memory]
        memory = (self.weights, self.parameters, self.tables)[i.memory]
        target = i.address * 16
        refuse(target + i.bytes > len(memory), f"{name}_range")
        memory[target : target + i.bytes] = self.ddr[i.source : i.source + i.bytes]

    def input_pixels(self, i: isa.Conv | isa.Pool, dilation_h: int, dilation_w: int) -> Array:
        """Indices of pixels: block, kernel row and column, output row and column."""
        k, y, x, row, col = ranges(k=i.blocks, y=i.kernel_h, x=i.kernel_w, r=i.out_rows, c=i.out_cols)
        in_row, in_col = row * i.stride_h + y * dilation_h, col * i.stride_w + x * dilation_w
        return k * i.plane + in_row * i.in_cols + in_col

    def read_pixels(self, memory: Array, address: int, pixels: Array, bits: int) -> Array | None:
        """The pixels' lanes along a last axis; nothing when one lies outside."""
        index = self.base(address) * 8 // bits + pixels[..., None] * self.lanes + np.arange(self.lanes)
        values = elements(memory, bits)
        return values[index] if index.max() < len(values) else None

    def conv(self, i: isa.Conv) -> None:
        """Raises RefusedError, and UnspecifiedError where sums of another kind are gone on with."""
        O, L = self.dpu.outputs, self.lanes  # noqa: E741
        counts = (i.blocks, i.kernel_h, i.kernel_w, i.stride_h, i.stride_w, i.out_rows, i.out_cols)
        refuse(0 in counts or (i.raw and (i.table or i.out4)), "illegal_instruction")
        refuse(i.pair and (i.raw or i.depthwise or i.stride_w != 1), "illegal_instruction")
        refuse(i.pair and not (i.features4 and i.weights4), "illegal_instruction")
        lanes = self.result_lanes(i)
        refuse(i.spare * L >= lanes or (i.depthwise and i.blocks > O // L), "illegal_instruction")
        written = lanes - i.spare * L
        pixels = self.input_pixels(i, i.dilation_h, i.dilation_w)
        x = self.read_pixels(self.features, i.address, pixels, 4 if i.features4 else 8)
        if x is None:
            raise RefusedError("feature_range")
        w = self.conv_weights(i)
        if i.first or (i.last and not i.raw):
            refuse(i.param_address + O > self.dpu.parameter_entries, "parameter_range")
        refuse(i.last and i.table and i.table_address >= self.dpu.table_count, "table_range")
        rows, cols = (axis.reshape(-1) for axis in np.mgrid[: i.out_rows, : i.out_cols])
        entries = i.acc_address + (rows * -(-i.out_cols // 2) + cols // 2 if i.pair else rows * i.out_cols + cols)
        refuse(entries.max() >= self.dpu.accumulators, "accumulator_range")
        if i.last:
            bits = 32 if i.raw else 4 if i.out4 else 8
            refuse(self.base(i.out_address) + rows.size * written * bits // 8 > len(self.output), "output_range")
        self.entries.write(i)
        parameters = slice(i.param_address * 8, (i.param_address + O) * 8)
        bias, scale = (self.parameters[parameters].view(kind)[n::2] for n, kind in enumerate((np.int32, np.float32)))
        before = self.pairs[entries, cols % 2] if i.pair else self.accumulators[entries]
        acc = self.sums(i, x, w) + (bias.astype(np.int64) if i.first else before)
        if i.pair:
            acc = acc.astype(np.uint16).astype(np.int16).astype(np.int64)
            self.pairs[entries, cols % 2] = acc
        else:
            acc = acc.astype(np.uint32).astype(np.int32).astype(np.int64)
            self.accumulators[entries] = acc
        if i.last and i.raw:
            self.write(i.out_address, acc[:, :written].astype(np.int32), 32)
        elif i.last:
            largest = acc.reshape(len(acc), -1, lanes).max(axis=1)
            y = requantize(largest, scale[:lanes], i)[:, :written]
            self.write(i.out_address, self.mapped(y, i.table, i.table_address), 4 if i.out4 else 8)

    def result_lanes(self, i: isa.Conv) -> int:
        """Lanes of the results, after `fold`."""
        O, L = self.dpu.outputs, self.lanes  # noqa: E741
        if i.fold == 0:
            return O
        refuse(i.fold == 3 or i.raw or i.depthwise or not i.last, "illegal_instruction")
        lanes = O // (2, 4)[i.fold - 1]
        refuse(lanes != L // 2 and lanes % L != 0, "illegal_instruction")
        refuse(lanes % self.dpu.requantize_lanes, "illegal_instruction")
        return lanes

    def sums(self, i: isa.Conv, x: Array, w: Array) -> Array:
        """What is added for each output pixel and lane."""
        count = i.out_rows * i.out_cols
        if i.depthwise:
            own = np.einsum("kyxrcl,kyxl->rckl", x, w).reshape(count, -1)
            return np.pad(own, ((0, 0), (0, self.dpu.outputs - own.shape[1])))
        flat = x.transpose(3, 4, 0, 1, 2, 5).reshape(count, -1).astype(np.float64)  # exact below 2^53
        return (flat @ w.transpose(3, 0, 1, 2, 4).reshape(self.dpu.outputs, -1).T.astype(np.float64)).astype(np.int64)

    def conv_weights(self, i: isa.Conv) -> Array:
        shape = (i.blocks, i.kernel_h, i.kernel_w, *(() if i.depthwise else (self.dpu.outputs,)), self.lanes)
        values = elements(self.weights, 4 if i.weights4 else 8)
        first = i.w_address * 16 * (2 if i.weights4 else 1)
        last = first + int(np.prod(shape))
        refuse(last > len(values), "weight_range")
        return values[first:last].reshape(shape)

    def mapped(self, y: Array, use: int, table: int) -> Array:
        return self.tables.view(np.int8)[table * 256 + y + 128] if use else y

    def write(self, address: int, y: Array, bits: int) -> None:
        """Results (pixel, channel) go out as planes of INPUTS channels, or of the fewer there are."""
        planes = y.reshape(len(y), -1, min(self.lanes, y.shape[1])).transpose(1, 0, 2).reshape(-1)
        if bits == 32:
            data = planes.astype("<i4").view(np.uint8)
        elif bits == 8:
            data = planes.astype(np.int8).view(np.uint8)
        else:
            pairs = planes.reshape(-1, 2) & 15
            data = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8)
        self.output[self.base(address) : self.base(address) + len(data)] = data

    def pool(self, i: isa.Pool) -> None:
        counts = (i.blocks, i.kernel_h, i.kernel_w, i.stride_h, i.stride_w, i.out_rows, i.out_cols)
        refuse(0 in counts, "illegal_instruction")
        memory = self.output if i.from_output else self.features
        x = self.read_pixels(memory, i.address, self.input_pixels(i, 1, 1), 4 if i.features4 else 8)
        refuse(x is None and not i.from_output, "feature_range")
        refuse(i.table and i.table_address >= self.dpu.table_count, "table_range")
        size = i.blocks * i.out_rows * i.out_cols * self.lanes // (2 if i.out4 else 1)
        refuse(x is None or self.base(i.out_address) + size > len(self.output), "output_range")
        assert x is not None
        y = x.max(axis=(1, 2)).transpose(1, 2, 0, 3).reshape(i.out_rows * i.out_cols, -1)
        self.write(i.out_address, self.mapped(y, i.table, i.table_address), 4 if i.out4 else 8)

    def operands(self, i: isa.Add | isa.Multiply, inner: bool) -> tuple[Array, Array]:
        refuse(i.pixels == 0, "illegal_instruction")
        pixels = np.arange(i.pixels)
        memory = self.output if i.from_output else self.features
        a = self.read_pixels(memory, i.address, pixels, 4 if i.features4 else 8)
        b = self.read_pixels(self.features, i.b_address, pixels, 4 if i.b_features4 else 8)
        refuse(b is None or (a is None and not i.from_output), "feature_range")
        refuse(inner and i.table_address + 4 > self.dpu.table_count, "table_range")
        refuse(i.table and i.map_address >= self.dpu.table_count, "table_range")
        end = self.base(i.out_address) + i.pixels * self.lanes // (2 if i.out4 else 1)
        refuse(a is None or end > len(self.output), "output_range")
        assert a is not None
        assert b is not None
        return a, b

    def finish(self, i: isa.Add | isa.Multiply, value: Array) -> None:
        y = np.rint(value).astype(np.float64) + i.zero
        y = np.minimum(np.maximum(y, i.low), i.high).astype(np.int64)
        self.write(i.out_address, self.mapped(y, i.table, i.map_address), 4 if i.out4 else 8)

    def add(self, i: isa.Add) -> None:
        a, b = self.operands(i, inner=True)
        inner = self.tables[i.table_address * 256 : (i.table_address + 4) * 256].view(np.float32)
        self.finish(i, fma(a - i.a_zero, i.scale, inner[b + 128]))

    def multiply(self, i: isa.Multiply) -> None:
        a, b = self.operands(i, inner=False)
        product = ((a - i.a_zero) * (b - i.b_zero)).astype(np.float32)
        with np.errstate(over="ignore"):
            self.finish(i, product * np.float32(i.scale) + np.float32(i.bias))

    def store(self, i: isa.Store) -> None:
        refuse(not (i.blocks and i.rows and i.width), "illegal_instruction")
        sizes = np.array([i.target, i.block_stride, i.row_stride, i.width])
        refuse((sizes % self.dpu.unit_bytes).any(), "illegal_instruction")
        k, r, n = ranges(k=i.blocks, r=i.rows, n=i.width)
        target = i.target + k * i.block_stride + r * i.row_stride + n
        refuse(target.max() >= len(self.ddr), "ddr_range")
        source = self.base(i.address) + np.arange(target.size)
        refuse(source[-1] >= len(self.output), "output_range")
        for to, start in zip(target.reshape(-1, i.width), source[:: i.width], strict=True):
            self.ddr[to] = self.output[start : start + i.width]
