"""Pictures and inputs to calibrate with."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        noise = rng.integers(0, 256, (12 + index, 20, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), noise)
    return folder


@pytest.fixture(scope="session")
def inputs() -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return [(rng.integers(0, 256, (1, 3, 16, 16)) / 255).astype(np.float32) for _ in range(4)]
