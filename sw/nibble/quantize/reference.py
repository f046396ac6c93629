"""The published INT8 protocol, by onnxruntime's own quantizer.

Source: `quantize_static` in QOperator form as the model card of YOLOv4-Leaky-416 INT8 describes it: per-tensor
symmetric int8 weights, asymmetric uint8 activations, min-max ranges, int32 bias. Ranges are merged after every
picture, so memory does not grow with their number.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime
from onnxruntime import quantization

from nibble.errors import UnsupportedError
from nibble.quantize.calibrate import REFUSALS, does_not_run
from nibble.quantize.pictures import Inputs
from nibble.yolo.detections import Floats

_WARNING, _FATAL = 2, 4
"""Severities of onnxruntime's log: its default, and only what ends the process."""


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands out as many pictures as `set_range` allows, in their order."""

    def __init__(self, name: str, inputs: Inputs) -> None:
        self._feeds = ({name: values} for values in inputs)
        self._count = len(inputs)
        self._allowed = 0

    def __len__(self) -> int:
        return self._count

    def set_range(self, start_index: int, end_index: int) -> None:
        self._allowed = end_index - start_index

    def get_next(self) -> dict[str, Floats] | None:
        if not self._allowed:
            return None
        self._allowed -= 1
        return next(self._feeds)


def quantize_reference(model: onnx.ModelProto, inputs: Inputs, per_channel: bool, where: Path) -> onnx.ModelProto:
    """Return the QOperator form of a prepared float `model`, calibrated on `inputs` [1, 3, H, W].

    Raises UnsupportedError naming `where` when onnxruntime's quantizer cannot process the model.
    """
    with TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "quantized.onnx"
        try:
            quantization.quantize_static(
                model,
                target,
                _Reader(model.graph.input[0].name, inputs),
                quant_format=quantization.QuantFormat.QOperator,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=per_channel,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                extra_options={"CalibStridedMinMax": 1},
            )
        except REFUSALS as error:
            raise does_not_run(where, error) from error
        except (ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
            raise UnsupportedError(where, f"onnxruntime's static quantizer on this model ({error})") from error
        quantized = onnx.load(target)
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(model.metadata_props)
    return quantized


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the advice of the quantizer and of its sessions off the terminal."""
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
        logging.disable(logging.NOTSET)
