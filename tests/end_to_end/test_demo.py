from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from nibble import demo
from nibble.cli import main
from nibble.engines import open_engine
from nibble.errors import CheckFailedError
from nibble.evaluate.annotations import Annotations
from nibble.evaluate.evaluation import evaluate
from nibble.files import sha256


def test_the_demo_finds_the_face_bit_exactly_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("socket.socket.connect", _no_network)
    with pytest.raises(SystemExit) as caught:
        main(["demo", "-o", str(tmp_path), "--json", str(tmp_path / "demo.json")])
    assert not caught.value.code
    steps = {step["name"]: step["result"] for step in json.loads((tmp_path / "demo.json").read_text())["steps"]}
    assert list(steps) == ["model", "verify", "compile", "simulate", "detect"]
    assert "bit-exact" in steps["simulate"]
    assert steps["detect"].startswith("1 face ")
    drawn, original = cv2.imread(str(tmp_path / "grace_hopper.jpg")), cv2.imread(str(demo.portrait()))
    assert drawn.shape == original.shape
    assert (abs(drawn.astype(int) - original).max(axis=2) > 100).sum() > 500
    assert "nibble demo" in capsys.readouterr().out


def _no_network(*_: object) -> None:
    raise AssertionError("the demo opened a connection")


def test_a_picture_without_a_face_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.full((300, 300, 3), 200, np.uint8))
    monkeypatch.setattr(demo, "portrait", lambda: blank)
    with pytest.raises(CheckFailedError, match=r"^blank\.png: no face found$"):
        list(demo.run_demo(tmp_path / "out"))


def test_the_embedded_model_is_the_one_its_facts_describe() -> None:
    facts = json.loads(demo.FACTS.read_text())
    assert sha256(demo.MODEL) == facts["sha256"]
    assert demo.MODEL.stat().st_size < 1_000_000


def test_the_embedded_model_has_the_stated_ap50(data: Path) -> None:
    facts = json.loads(demo.FACTS.read_text())
    truth = Annotations.read(data / "faces" / "val.json")
    measured = evaluate(open_engine(demo.MODEL, "onnxruntime"), data / "faces" / "val", truth, merge_categories=True)
    assert measured.precision.ap50 == pytest.approx(facts["ap50"], abs=0.002)
    assert measured.images == facts["validation_images"]
