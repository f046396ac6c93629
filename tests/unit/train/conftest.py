"""A tiny recipe and a tiny COCO folder of coloured squares; the tests here may import `random_networks`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nibble.train.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))

SHIPPED = Path(__file__).parents[3] / "build_configs" / "train" / "lpyolo-faces.yaml"


def tiny(**changes: Any) -> dict[str, Any]:
    """Return the raw tiny recipe; `section__key` changes a key of a section."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "epochs": 3,
        "validate_every": 2,
        "checkpoint_every": 1,
        "data": {
            "train": {"annotations": "train.json", "images": "train"},
            "val": {"annotations": "val.json", "images": "val"},
            "classes": ["square"],
            "merge_categories": True,
        },
        "model": {
            "size": 64,
            "bits": "float",
            "activation": "relu",
            "layers": [
                {"channels": 4, "kernel": 3, "pool": True},
                {"channels": 16, "kernel": 3, "pool": True},
                {"channels": 16, "kernel": 3, "pool": True},
            ],
            "anchors": [[8, 8], [20, 20]],
            "scale_x_y": 2.0,
        },
        "augment": {
            "mosaic": 0.5,
            "mosaic_until": 0.7,
            "zoom": [0.7, 1.5],
            "face": 0.2,
            "face_side": [10, 40],
            "aspect": [0.9, 1.1],
            "flip": 0.5,
            "grey": 0.1,
            "blur": 0.1,
            "brightness": 20,
            "contrast": 0.2,
            "saturation": 0.2,
            "tint": 0.05,
            "visible": 0.5,
            "min_side": 2,
        },
        "loss": {"box": 5.0, "objectness": 1.0, "classes": 0.5, "anchor_ratio": 3.0, "neighbours": True},
        "optimizer": {
            "rate": 0.01,
            "final_rate": 0.1,
            "weight_decay": 0.01,
            "warmup_epochs": 1,
            "batch": 2,
            "clip": 10.0,
            "ema": 0.9,
            "precision": "float32",
            "threads": 1,
        },
    }
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = raw
        for section in sections:
            place = place[section]
        place[last] = value
    return raw


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.model_validate(tiny())


def write_squares(folder: Path, split: str, count: int) -> None:
    """Write `count` grey pictures of 80 x 60 with one or two red squares, and their annotations."""
    rng = np.random.default_rng(count)
    (folder / split).mkdir(parents=True)
    images, notes = [], []
    for k in range(count):
        picture = rng.integers(90, 140, (60, 80, 3)).astype(np.uint8)
        for _ in range(1 + k % 2):
            side, x, y = (int(v) for v in rng.integers((10, 0, 0), (25, 55, 35)))
            picture[y : y + side, x : x + side] = (0, 0, 255)
            notes.append({"id": len(notes), "image_id": k, "category_id": 1 + k % 2, "bbox": [x, y, side, side]})
        cv2.imwrite(str(folder / split / f"{k}.png"), picture)
        images.append({"id": k, "file_name": f"{k}.png", "width": 80, "height": 60})
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "scarlet"}]
    text = json.dumps({"images": images, "annotations": notes, "categories": categories})
    (folder / f"{split}.json").write_text(text)


def _squares(folder: Path, train: int) -> Path:
    write_squares(folder, "train", train)
    write_squares(folder, "val", 4)
    return folder


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    return _squares(tmp_path / "squares", 5)


@pytest.fixture
def many_squares(tmp_path: Path) -> Path:
    return _squares(tmp_path / "squares", 32)


@pytest.fixture
def quantized(recipe: Recipe) -> Recipe:
    """Return the tiny recipe at 4 bits."""
    return recipe.changed("4W4A")
