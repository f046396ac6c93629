"""hw/rtl/conv_sums.sv, steps with pair and without in turn, against NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from bench import Array, Pins, pack, signed, unpack

WORD = 2
"""Cycles from a step to its word."""
AT_ARRAY = WORD + 1
ENTRIES = 64
PASSES = 60
FIELDS = {"valid": 1, "swap": 1, "take_bias": 1, "use_bias": 1, "four": 1, "pair": 1, "entry": 13, "id": 4}
"""Of a step, the highest bits first."""


def latency(inputs: int) -> int:
    """Cycles from a step to the writing of its sums."""
    return AT_ARRAY + 4 + inputs.bit_length() - 1 + 1


@dataclass(frozen=True)
class Pass:
    """Weights [outputs, inputs], features [entries, pixels, inputs] (two pixels with pair); `first` takes the bias."""

    pair: bool
    four: bool
    first: bool
    weights: Array
    features: Array
    bias: Array
    base: int

    @property
    def length(self) -> int:
        return len(self.features)

    def words(self) -> Array:
        """Feature words as bytes, int8 or 4-bit pixels beside each other; anything where there is no pixel."""
        if not self.four:
            return np.asarray(self.features[:, 0])
        nibbles = self.features.reshape(self.length, -1, 2) & 15
        words = nibbles[..., 0] + (nibbles[..., 1] << 4)
        return np.concatenate([words, -words], axis=1)[:, : self.weights.shape[1]]

    def add(self, sums: Array) -> None:
        """To entries of 32 bits [entry, output]."""
        entries = sums[self.base : self.base + self.length]
        if self.first:
            entries[:] = self.bias
        new = np.einsum("ol,epl->epo", self.weights, self.features)
        if self.pair:
            halves = [(entries >> 16 * i) + new[:, i] & 0xFFFF for i in range(2)]
            entries[:] = halves[0] + (halves[1] << 16)
        else:
            entries[:] = entries + new[:, 0] & 0xFFFFFFFF


def extreme(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> Array:
    """Random values, extreme ones alone, or the least alone."""
    high = 1 << bits - 1
    values = rng.integers(-high, high, shape)
    kind = rng.integers(0, 4)
    if kind == 1:
        return np.asarray(rng.choice([-high, high - 1], shape))
    return np.full(shape, -high) if kind == 2 else values


def passes(rng: np.random.Generator, inputs: int, outputs: int) -> list[Pass]:
    """Tiles of one kind each, of some passes, in the accumulators' halves in turn."""
    found: list[Pass] = []
    for tile in range(PASSES // 3):
        pair, four = [(True, True), (False, True), (False, False)][rng.integers(0, 3)]
        length = int(rng.integers(outputs, ENTRIES // 2 + 1))
        for number in range(rng.integers(1, 6)):
            weights = extreme(rng, (outputs, inputs), 4 if pair else 8)
            features = extreme(rng, (length, 1 + pair, inputs), 4 if four else 8)
            bias = rng.integers(0, 1 << 32, outputs)
            found.append(Pass(pair, four, number == 0, weights, features, bias, tile % 2 * ENTRIES // 2))
    return found


def stimulus(rng: np.random.Generator, steps: list[Pass], inputs: int, outputs: int) -> dict[str, Array]:
    """Each pass's weights are loaded while the one before it streams, those of the first one before it."""
    lead = outputs // 2 + AT_ARRAY
    cycles = lead + sum(step.length for step in steps) + latency(inputs) + 4
    fields = {name: np.zeros(cycles, np.int64) for name in FIELDS}
    load = {name: np.zeros(cycles, np.int64) for name in ("load_en_i", "load_pair_i", "load_output_i")}
    rows = rng.integers(-128, 128, (cycles, 2 * inputs))
    words = rng.integers(-128, 128, (cycles, inputs))
    bias = np.zeros((cycles, outputs), np.int64)
    start, begin = lead, AT_ARRAY
    for step in steps:
        here, loading = slice(start, start + step.length), slice(begin, begin + outputs // 2)
        fields["valid"][here] = 1
        fields["entry"][here] = step.base + np.arange(step.length)
        fields["pair"][here], fields["four"][here], fields["use_bias"][here] = step.pair, step.four, step.first
        fields["swap"][start], fields["take_bias"][start] = 1, step.first
        words[start + WORD : start + WORD + step.length] = signed(step.words() & 255, 8)
        if step.first:
            bias[start + latency(inputs) - 4 : start + latency(inputs)] = step.bias
        load["load_en_i"][loading], load["load_pair_i"][loading] = 1, step.pair
        load["load_output_i"][loading] = np.arange(0, outputs, 2)
        rows[loading] = step.weights.reshape(-1, 2 * inputs)
        begin = start + AT_ARRAY
        start += step.length
    pixel = np.zeros(cycles, np.int64)
    for name, bits in FIELDS.items():
        pixel = (pixel << bits) + fields[name]
    packed = {"load_weights_i": pack(rows, 8), "features_i": pack(words, 8), "bias_i": pack(bias, 32)}
    return load | packed | {"pixel_i": pixel, "d_en_i": np.zeros(cycles, np.int64)}


@pytest.mark.parametrize(("inputs", "outputs", "packed"), [(8, 16, 0), (8, 16, 1), (16, 4, 1), (32, 4, 0)])
def test_adds_both_halves_by_themselves(inputs: int, outputs: int, packed: int) -> None:
    parameters = {"Inputs": inputs, "Outputs": outputs, "Accumulators": ENTRIES, "Packed": packed}
    pins = Pins("conv_sums", parameters)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        steps = passes(rng, inputs, outputs)
        pins.reset()
        pins.run(stimulus(rng, steps, inputs, outputs), [])
        sums, known = np.zeros((ENTRIES, outputs), np.int64), np.zeros(ENTRIES, bool)
        for step in steps:
            step.add(sums)
            known[step.base : step.base + step.length] = True
        drained = pins.run({"pixel_i": 0, "d_en_i": 1, "d_addr_i": np.arange(ENTRIES + 2) % ENTRIES}, ["d_data_o"])
        got = unpack(drained["d_data_o"][2:], outputs, 32)
        np.testing.assert_array_equal(got[known], sums[known])
