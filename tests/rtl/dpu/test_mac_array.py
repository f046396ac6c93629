"""hw/rtl/mac_array.sv, every variant, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from bench import Array, Pins, pack, refusal, signed, unpack

SIZES = [(8, 16), (16, 8), (32, 4)]
VARIANTS = {"plain": (0, 0), "packed": (1, 1), "mixed": (1, 0.5), "lut": (1, 0)}
"""Packed, and the share of the outputs in DSPs."""


def latency(inputs: int) -> int:
    return 4 + inputs.bit_length() - 1


def field_bits(inputs: int) -> int:
    """With pair, the bits of the first pixel's sum; a sum has twice as many."""
    return 8 + inputs.bit_length() - 1


def operands(rng: np.random.Generator, shape: tuple[int, ...], bits: int = 8) -> Array:
    """Rows of random, of the extreme and of nearly extreme values, or of one extreme alone."""
    rows, rest = shape[0], (1,) * (len(shape) - 1)
    high = 1 << bits - 1
    values = rng.integers(-high, high, shape)
    ends = rng.choice([-high, -high, 1 - high, -1, 0, 1, high - 1], shape)
    one = np.broadcast_to(rng.choice([-high, high - 1], (rows, *rest)), shape)
    return np.choose(rng.integers(0, 3, (rows, *rest)), [values, ends, one])


def pixels(x: Array) -> Array:
    """The two pixels of 4 bits that x is with pair, by lane in one number, as far apart as in the sums."""
    first, second = signed(x & 15, 4), signed(x >> 4 & 15, 4)
    return np.asarray(first + (second << field_bits(x.shape[-1])))


class Stimulus:
    """Passes of different length, with pair or without; the next weights are loaded while the last pass streams, in
    any order.
    """

    def __init__(self, seed: int, inputs: int, outputs: int, passes: int) -> None:
        rng = np.random.default_rng(seed)
        pair = rng.integers(0, 2, passes + 1)
        int8, int4 = (operands(rng, (passes + 1, outputs, inputs), bits) for bits in (8, 4))
        self.weights = np.where(pair[:, np.newaxis, np.newaxis], int4, int8)
        half = outputs // 2
        lengths = rng.integers(half, half + 20, passes + 1)
        self.cycles = int(lengths.sum())
        self.load, self.swap = np.zeros((2, self.cycles), np.int64)
        self.output = rng.integers(0, half, self.cycles) * 2
        self.rows = rng.integers(-128, 128, (self.cycles, 2, inputs))
        self.load_pair = rng.integers(0, 2, self.cycles)
        self.number = np.repeat(np.arange(passes + 1), lengths) - 1  # the pass whose weights count
        self.pair = pair[self.number]
        for index, start in enumerate(np.cumsum(lengths) - lengths):
            self.swap[start] = index > 0
            times = start + np.sort(rng.choice(lengths[index], half, replace=False))
            self.output[times] = rng.permutation(half) * 2
            self.load[times], self.load_pair[times] = 1, pair[index]
            self.rows[times] = self.weights[index].reshape(half, 2, inputs)[self.output[times] // 2]
        first, second = operands(rng, (2, self.cycles, inputs), 4)
        nibbles = signed((first & 15) + ((second & 15) << 4), 8)
        self.x = np.where(self.pair[:, np.newaxis], nibbles, operands(rng, (self.cycles, inputs)))

    def expected(self) -> Array:
        """Sums by cycle of x, shape (cycles, outputs); those before the first swap mean nothing."""
        x = np.where(self.pair[:, np.newaxis], pixels(self.x), self.x)
        return np.einsum("col,cl->co", self.weights[self.number], x)

    def pins(self) -> dict[str, Array]:
        rows = self.rows.reshape(self.cycles, -1)
        values = {"load_en_i": self.load, "load_output_i": self.output, "swap_i": self.swap}
        modes = {"load_pair_i": self.load_pair, "pair_i": self.pair}
        return values | modes | {"load_weights_i": pack(rows, 8), "x_i": pack(self.x, 8)}


@pytest.mark.parametrize("variant", ["plain", "packed", "mixed"])
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_multiplies_each_pixel_with_the_weights_of_its_pass(inputs: int, outputs: int, variant: str) -> None:
    packed, share = VARIANTS[variant]
    parameters = {"Inputs": inputs, "Outputs": outputs, "Packed": packed, "DspOutputs": int(outputs * share)}
    pins = Pins("mac_array", parameters)
    late = latency(inputs)
    for seed in range(3):
        stimulus = Stimulus(seed, inputs, outputs, 300)
        sums = pins.run(stimulus.pins(), ["sum_o"])["sum_o"]
        got = unpack(sums, outputs, 2 * field_bits(inputs), signed=True)[late:]
        begun = int(np.argmax(stimulus.swap))
        np.testing.assert_array_equal(got[begun:], stimulus.expected()[begun:-late])


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_pairs_of_operands(variant: str) -> None:
    """Each x with each weight in all lanes at once: the largest sums of either sign."""
    inputs, outputs = 8, 16
    packed, share = VARIANTS[variant]
    parameters = {"Inputs": inputs, "Outputs": outputs, "Packed": packed, "DspOutputs": int(outputs * share)}
    pins = Pins("mac_array", parameters)
    x = np.repeat(np.arange(-128, 128), inputs).reshape(-1, inputs)
    for first in range(-128, 128, outputs):
        weights = np.repeat((first + np.arange(outputs)), inputs).reshape(outputs // 2, 2 * inputs)
        load = {"load_en_i": 1, "load_output_i": np.arange(0, outputs, 2), "load_weights_i": pack(weights, 8)}
        pins.run(load, [])
        pins.run({"load_en_i": 0, "swap_i": 1}, [], 1)
        rows = np.concatenate([x, np.zeros((latency(inputs), inputs), np.int64)])
        sums = pins.run({"swap_i": 0, "x_i": pack(rows, 8)}, ["sum_o"])["sum_o"]
        got = unpack(sums, outputs, 2 * field_bits(inputs), signed=True)[latency(inputs) :]
        np.testing.assert_array_equal(got, inputs * x[:, :1] * (first + np.arange(outputs)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_pairs_of_pixels(variant: str) -> None:
    """Each pair of pixels with each weight of 4 bits, in all lanes at once."""
    inputs, outputs = 8, 16
    packed, share = VARIANTS[variant]
    parameters = {"Inputs": inputs, "Outputs": outputs, "Packed": packed, "DspOutputs": int(outputs * share)}
    pins = Pins("mac_array", parameters)
    values = np.arange(-8, 8)
    weights = np.repeat(values, inputs).reshape(outputs // 2, 2 * inputs)
    load = {"load_en_i": 1, "load_pair_i": 1, "load_output_i": np.arange(0, outputs, 2)}
    pins.run(load | {"load_weights_i": pack(weights, 8)}, [])
    pins.run({"load_en_i": 0, "swap_i": 1}, [], 1)
    x = np.repeat(np.arange(-128, 128), inputs).reshape(-1, inputs)
    rows = np.concatenate([x, np.zeros((latency(inputs), inputs), np.int64)])
    sums = pins.run({"swap_i": 0, "pair_i": 1, "x_i": pack(rows, 8)}, ["sum_o"])["sum_o"]
    got = unpack(sums, outputs, 2 * field_bits(inputs), signed=True)[latency(inputs) :]
    np.testing.assert_array_equal(got, inputs * pixels(x)[:, :1] * values)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"Inputs": 4}, "Inputs (4) must be a power of two, at least 8."),
        ({"Inputs": 24}, "Inputs (24) must be a power of two, at least 8."),
        ({"Outputs": 5}, "Outputs (5) must be even."),
        ({"DspOutputs": 3}, "DspOutputs (3) must be even, and at most Outputs (16)."),
        ({"DspOutputs": 18}, "DspOutputs (18) must be even, and at most Outputs (16)."),
    ],
)
def test_refuses_parameters_in_words(parameters: dict[str, int], words: str) -> None:
    assert words in refusal("mac_array", parameters)
