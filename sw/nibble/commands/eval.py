"""`nibble eval`: COCO average precision of models, side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nibble.console import JsonOption, err, print_table, progress

if TYPE_CHECKING:
    from nibble.evaluate.bootstrap import Bars
    from nibble.evaluate.evaluation import Evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval")(evaluate)


def evaluate(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="Models or .dpu programs to compare.")],
    images: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the pictures.")],
    annotations: Annotated[Path, typer.Option(metavar="FILE", help="COCO annotations of the pictures.")],
    engine: Annotated[str, typer.Option(help="onnxruntime, cppsim, rtlsim or pynq.")] = "onnxruntime",
    score: Annotated[float, typer.Option(min=0, max=1, help="Least score.")] = 0.001,
    nms: Annotated[float, typer.Option(min=0, max=1, help="Overlap (IoU) above which a box yields.")] = 0.45,
    max_detections: Annotated[int, typer.Option(min=1, help="Most detections a picture.")] = 100,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
    threads: Annotated[int, typer.Option(min=0, max=256, help="Threads of onnxruntime; 0: all cores.")] = 0,
    merge_categories: Annotated[
        bool, typer.Option("--merge-categories", help="All categories are the model's only class.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(min=0, max=100_000, help="Draws for error bars; 0: none.")] = 1000,
    json: JsonOption = None,
) -> None:
    """Compare models by COCO average precision on annotated pictures, with error bars and the gap to the first model.

    Example: nibble eval float.onnx int8.onnx --images val2017 --annotations instances_val2017.json
    """
    from nibble.engines import open_engine
    from nibble.evaluate.annotations import Annotations
    from nibble.evaluate.bootstrap import error_bars
    from nibble.evaluate.evaluation import evaluate as evaluate_model
    from nibble.files import check_outputs, write_json
    from nibble.yolo.postprocess import Thresholds

    check_outputs([json], [*models, annotations])
    truth = Annotations.read(annotations)
    truth = truth.first(limit) if limit else truth
    opened = [open_engine(model, engine, threads) for model in models]
    results = [
        evaluate_model(
            one,
            images,
            truth,
            Thresholds(score, nms, max_detections),
            merge_categories,
            partial(progress, description=model.name),
        )
        for model, one in zip(models, opened, strict=True)
    ]
    _print(models, results, 1 if merge_categories else len(truth.categories))
    summaries = [_summary(*row, engine) for row in zip(models, results, strict=True)]
    if bootstrap:
        bars = error_bars([result.judged for result in results], bootstrap)
        summaries = [{**one, **_errors(one, bar, summaries[0])} for one, bar in zip(summaries, bars, strict=True)]
        _print_errors(summaries, bootstrap)
    if json:
        write_json(json, {"models": summaries})


def _print(models: list[Path], results: list[Evaluation], categories: int) -> None:
    rows = []
    for model, result in zip(models, results, strict=True):
        figures = ("-" if value is None else f"{value:.4f}" for value in vars(result.precision).values())
        rows.append((model, *figures, f"{result.timings.total:.1f}"))
        if result.categories < categories:
            err.print(f"{model}: AP over the {result.categories} of {categories} categories that it has classes for")
    title = f"COCO AP on {results[0].images} pictures"
    print_table(title, ("model", "AP", "AP50", "AP75", "small", "medium", "large", "ms/picture"), rows)


def _summary(model: Path, result: Evaluation, engine: str) -> dict[str, Any]:
    return {
        "path": str(model),
        "engine": engine,
        **vars(result.precision),
        "categories": result.categories,
        "images": result.images,
        "ms_per_image": result.timings.total,
        "ms": vars(result.timings),
    }


def _errors(summary: dict[str, Any], bars: Bars, first: dict[str, Any]) -> dict[str, Any]:
    """Return `ap_se`, `ap_interval`, `ap_difference`, `ap_difference_se`, ..., also of AP50; None where unknown."""
    found: dict[str, Any] = {}
    for key in ("ap", "ap50"):
        known = summary[key] is not None and first[key] is not None
        found[f"{key}_difference"] = summary[key] - first[key] if known else None
    for key, one in vars(bars).items():
        found[f"{key}_se"], found[f"{key}_interval"] = (one.se, one.interval) if one else (None, None)
    return found


def _print_errors(summaries: list[dict[str, Any]], draws: int) -> None:
    names = ("ap", "ap50", "ap_difference", "ap50_difference")
    rows = [(one["path"], *(cell for name in names for cell in _cells(one, name))) for one in summaries]
    columns = ("model", "AP, se", "95 %", "AP50, se", "95 %", "AP - first, se", "95 %", "AP50 - first, se", "95 %")
    print_table(f"Pictures drawn anew, {draws:,} times", columns, rows)


def _cells(summary: dict[str, Any], name: str) -> tuple[str, str]:
    value, error, interval = (summary[key] for key in (name, f"{name}_se", f"{name}_interval"))
    if value is None or error is None:
        return "-", "-"
    sign = "+" if name.endswith("difference") else ""
    return f"{value:{sign}.4f} ±{error:.4f}", "{:{sign}.4f} .. {:{sign}.4f}".format(*interval, sign=sign)
