"""`nibble detect`: boxes on pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nibble.console import JsonOption, out, progress
from nibble.errors import InputError

if TYPE_CHECKING:
    from nibble.engines import Engine
    from nibble.yolo.detections import Detections

    Row = tuple[Path, Detections, dict[str, float]]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="detect")(detect)


def detect(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="ONNX model, DPU program (.dpu) or, with --engine rtlsim, FINN network (.finn)."
        ),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Pictures.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")],
    engine: Annotated[str, typer.Option(help="onnxruntime, cppsim, rtlsim or pynq.")] = "onnxruntime",
    score: Annotated[float, typer.Option(min=0, max=1, help="Least score.")] = 0.25,
    nms: Annotated[float, typer.Option(min=0, max=1, help="Overlap (IoU) above which a box yields.")] = 0.45,
    json: JsonOption = None,
) -> None:
    """Detect objects; write each picture with its boxes (DIR/NAME.jpg), and DIR/detections.json.

    Example: nibble detect yolov4-tiny.onnx dog.jpg person.jpg -o found
    """
    from nibble.engines import open_engine
    from nibble.evaluate.detector import detect as detect_picture
    from nibble.files import check_outputs, write_json
    from nibble.yolo.draw import draw, save_jpeg
    from nibble.yolo.letterbox import read_picture
    from nibble.yolo.postprocess import Thresholds

    targets = _targets(images, output)
    listing = output / "detections.json"
    check_outputs([*targets, listing, json], [model, *images])
    opened = open_engine(model, engine)
    rows: list[Row] = []
    for image, target in progress(list(zip(images, targets, strict=True)), "Detecting"):
        picture = read_picture(image)
        found, took = detect_picture(opened, picture, Thresholds(score, nms))
        save_jpeg(target, draw(picture, found, opened.decoder.classes))
        rows.append((image, found, vars(took)))
    for image, found, _ in rows:
        _print(image, found, opened)
    write_json(listing, _coco(rows, opened))
    if json:
        write_json(json, {"images": [_summary(row, opened) for row in rows]})


def _targets(images: list[Path], output: Path) -> list[Path]:
    """Return where each picture is drawn; no two alike, and never onto one of the pictures."""
    targets = [output / f"{image.stem}.jpg" for image in images]
    for index, (image, target) in enumerate(zip(images, targets, strict=True)):
        if target in targets[:index]:
            raise InputError(image, f"a second picture for {target}", "pictures of different names")
        if target.resolve() in [each.resolve() for each in images]:
            raise InputError("-o", f"a folder where {target} is one of the pictures", "another folder")
    return targets


def _print(image: Path, found: Detections, engine: Engine) -> None:
    names = [engine.decoder.classes[label] for label in found.labels]
    listed = ", ".join(f"{name} {value:.2f}" for name, value in zip(names, found.scores, strict=True))
    out.print(f"{image}: {listed or 'nothing found'}")


def _boxes(found: Detections) -> list[list[float]]:
    return [[x, y, right - x, bottom - y] for x, y, right, bottom in found.boxes.tolist()]


def _coco(rows: list[Row], engine: Engine) -> list[dict[str, Any]]:
    """Return COCO results; `image_id` counts the pictures from 1, `category_id` is the model's class index."""
    return [
        {
            "image_id": number,
            "file_name": str(image),
            "category_id": label,
            "category_name": engine.decoder.classes[label],
            "bbox": box,
            "score": value,
        }
        for number, (image, found, _) in enumerate(rows, start=1)
        for label, box, value in zip(found.labels.tolist(), _boxes(found), found.scores.tolist(), strict=True)
    ]


def _summary(row: Row, engine: Engine) -> dict[str, Any]:
    image, found, took = row
    names = [engine.decoder.classes[label] for label in found.labels]
    detections = [
        {"label": name, "score": value, "bbox": box}
        for name, value, box in zip(names, found.scores.tolist(), _boxes(found), strict=True)
    ]
    return {"file": str(image), "detections": detections, "ms": took}
