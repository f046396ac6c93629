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
        O, L = self.dpu.outputs, self.lanes  # noqa: E741
        counts = (i.blocks, i.kernel_h, i.kernel_w, i.stride_h, i.stride_w, i.out_rows, i.out_cols)
        refuse(0 in counts or (i.raw and (i.table or i.out4)), "illegal_instruction")
        refuse(i.spare >= O // L or (i.depthwise and i.blocks > O // L), "illegal_instruction")
        written = O - i.spare * L
        pixels = self.input_pixels(i, i.dilation_h, i.dilation_w)
        x = self.read_pixels(self.features, i.address, pixels, 4 if i.features4 else 8)
        if x is None:
            raise RefusedError("feature_range")
        w = self.conv_weights(i)
        if i.first or (i.last and not i.raw):
            refuse(i.param_address + O > self.dpu.parameter_entries, "parameter_range")
        refuse(i.last and i.table and i.table_address >= self.dpu.table_count, "table_range")
        count = i.out_rows * i.out_cols
        refuse(i.acc_address + count > self.dpu.accumulators, "accumulator_range")
        if i.last:
            bits = 32 if i.raw else 4 if i.out4 else 8
            refuse(self.base(i.out_address) + count * written * bits // 8 > len(self.output), "output_range")
        acc = self.accumulators[i.acc_address : i.acc_address + count]
        parameters = slice(i.param_address * 8, (i.param_address + O) * 8)
        if i.first:
            acc[:] = self.parameters[parameters].view(np.int32)[0::2]
        if i.depthwise:
            sums = np.einsum("kyxrcl,kyxl->rckl", x, w).reshape(count, -1)
            acc[:, : i.blocks * L] += sums
        else:
            flat = x.transpose(3, 4, 0, 1, 2, 5).reshape(count, -1).astype(np.float64)  # exact below 2^53
            acc += (flat @ w.transpose(3, 0, 1, 2, 4).reshape(O, -1).T.astype(np.float64)).astype(np.int64)
        acc[:] = acc.astype(np.uint32).astype(np.int32)
        if i.last and i.raw:
            self.write(i.out_address, acc[:, :written].astype(np.int32), 32)
        elif i.last:
            y = requantize(acc, self.parameters[parameters].view(np.float32)[1::2], i)[:, :written]
            self.write(i.out_address, self.mapped(y, i.table, i.table_address), 4 if i.out4 else 8)

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
        """Results (pixel, channel) go out as planes of INPUTS channels."""
        planes = y.reshape(len(y), -1, self.lanes).transpose(1, 0, 2).reshape(-1)
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
