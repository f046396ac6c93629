"""Networks to study."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from nibble.onnx_io import save_model
from nibble.quantize.sensitivity.network import Network, load_integer_recipe, open_network

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (16, 20, 3), np.uint8))
    return folder


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Callable[..., Network]:
    """Open the small detector, or another, with a built-in recipe."""

    def opened(recipe: str = "int8", model: object = None) -> Network:
        from quantize_graphs import detector

        path = tmp_path_factory.mktemp("model") / "m.onnx"
        save_model(model or detector(), path)  # type: ignore[arg-type]
        return open_network(path, pictures, load_integer_recipe(recipe))

    return opened
