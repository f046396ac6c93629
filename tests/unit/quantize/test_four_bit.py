from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, numpy_helper

from nibble.quantize.four_bit import four_bit, packed


@given(hnp.arrays(np.int8, hnp.array_shapes(max_dims=4, max_side=5), elements=st.integers(-8, 7)))
def test_codes_take_half_a_byte_and_come_back(codes: np.ndarray) -> None:
    stored = four_bit(codes, TensorProto.INT4, "w")
    assert len(stored.raw_data) == (codes.size + 1) // 2
    assert np.array_equal(numpy_helper.to_array(stored).astype(np.int8), codes)
    unsigned = four_bit(codes + 8, TensorProto.UINT4, "w")
    assert np.array_equal(numpy_helper.to_array(unsigned).astype(np.int8), codes + 8)


def test_the_earlier_code_is_in_the_low_half() -> None:
    assert packed(np.array([1, 2, -1])).tolist() == [0x21, 0x0F]
