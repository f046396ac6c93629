"""The pin-level bench itself, on the smallest module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bench import Pins, pack, refusal, signed, unpack


@pytest.fixture(scope="module")
def pins() -> Pins:
    return Pins("adder_tree", {"Terms": 4, "Bits": 8, "SumBits": 10, "Offset": -3})


def test_rows_are_cycles_and_state_is_kept_between_runs(pins: Pins) -> None:
    rng = np.random.default_rng(0)
    terms = rng.integers(-128, 128, (50, 4))
    expected = terms.sum(axis=1) - 3
    whole = signed(pins.run({"terms_i": pack(terms, 8)}, ["sum_o"])["sum_o"], 10)
    np.testing.assert_array_equal(whole[2:], expected[:-2])
    single = [pins.run({"terms_i": row}, ["sum_o"])["sum_o"] for row in np.split(pack(terms, 8), 50)]
    np.testing.assert_array_equal(signed(np.concatenate(single), 10)[2:], expected[:-2])


def test_inputs_keep_their_value(pins: Pins) -> None:
    pins.run({"terms_i": 0x01010101}, [], 1)
    np.testing.assert_array_equal(pins.run({}, ["sum_o"], 4)["sum_o"][2:], 1)


def test_pack_and_unpack_are_inverse() -> None:
    values = np.random.default_rng(0).integers(-8, 8, (20, 5))
    np.testing.assert_array_equal(unpack(pack(values, 4), 5, 4, signed=True), values)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"term_i": 0}, r"no input term_i; inputs are \['clk_i', 'terms_i'\]"),
        ({"sum_o": 0}, "no input sum_o"),
        ({"terms_i": 1 << 32}, "terms_i has 32 bits, found values 4294967296 to 4294967296"),
        (
            {"terms_i": np.zeros((1, 3), np.uint8)},
            r"terms_i needs uint8 of shape \(cycles, 4\), found uint8 of \(1, 3\)",
        ),
        ({"terms_i": np.zeros(2, np.int64)}, r"the inputs must be of one length, found \[1, 2\]"),
    ],
)
def test_refuses_values_that_a_pin_cannot_take(pins: Pins, inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pins.run(inputs, [], 1)


@pytest.mark.parametrize("terms", [3, 6])
def test_a_tree_refuses_other_numbers_of_terms(terms: int) -> None:
    assert f"Terms ({terms}) must be a power of two." in refusal("adder_tree", {"Terms": terms})
