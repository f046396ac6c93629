"""`nibble sensitivity`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nibble.console import out, print_table, progress, progress_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from nibble.evaluate.heads import Slice
    from nibble.mixed import Target
    from nibble.quantize.layers import LayerBits
    from nibble.quantize.recipe import IntegerRecipe
    from nibble.quantize.sensitivity.effects import Effects
    from nibble.quantize.sensitivity.network import Network
    from nibble.quantize.sensitivity.pool import Pool
    from nibble.quantize.sensitivity.schemes import Scheme
    from nibble.quantize.sensitivity.study import Price, Study

MOST_ROWS = 24
"""Of the table of layers, the most sensitive first; the file has all."""


def register(app: typer.Typer) -> None:
    """Add the command `sensitivity`."""
    app.command("sensitivity")(sensitivity)


def sensitivity(
    model: Annotated[Path, typer.Argument(metavar="M.onnx", help="Float model, as `nibble import` writes it.")],
    calib: Annotated[Path, typer.Option("--calib", metavar="DIR", help="Folder of pictures to calibrate with.")],
    output: Annotated[Path, typer.Option("--output", "-o", "--json", metavar="S.json", help="Where to write all.")],
    recipe: Annotated[str, typer.Option("--recipe", metavar="R", help="Methods, and bits of all the rest.")] = "int8",
    bits: Annotated[
        list[str] | None,
        typer.Option("--bits", metavar="W/A", help="Bits to try, as 4/8; with weight-only, as 4. Repeatable."),
    ] = None,
    metric: Annotated[str, typer.Option(help="cosine or sqnr of the heads, or ap on --images.")] = "cosine",
    pictures: Annotated[int, typer.Option(min=1, help="Calibration pictures to try on.")] = 16,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Annotated pictures, to measure AP on.")] = None,
    annotations: Annotated[Path | None, typer.Option(metavar="FILE", help="COCO annotations of --images.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Only the first of --images.")] = 100,
    measure: Annotated[int, typer.Option(min=0, help="Schemes to measure beside the outermost two.")] = 3,
    include: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only these change. Repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="These do not. Repeatable.")] = None,
    top_k: Annotated[list[int] | None, typer.Option(min=0, help="Scheme: the K least sensitive at low bits.")] = None,
    threshold: Annotated[list[float] | None, typer.Option(min=0, help="Scheme: all up to this damage.")] = None,
    points: Annotated[int, typer.Option(min=2, help="Schemes of each Pareto front.")] = 6,
    board: Annotated[str | None, typer.Option(metavar="B", help="Predict the DPU's cycles on this board.")] = None,
    dpu: Annotated[str | None, typer.Option(metavar="NAME", help="Hardware size; the board's own.")] = None,
    cycles: Annotated[int | None, typer.Option(min=1, help="Scheme `mixed`: the best within so many cycles.")] = None,
    recipes: Annotated[Path | None, typer.Option(metavar="DIR", help="Write each scheme there as a recipe.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw layers and Pareto fronts.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one for each core without.")] = None,
    address: Annotated[str | None, typer.Option(help="Work on this Ray cluster; `local` starts one.")] = None,
) -> None:
    """Try each convolution alone at low bits, and make schemes of mixed bits from what that does to the heads.

    Example: nibble sensitivity yolov4-tiny.onnx --calib coco/train2017 --board pynq-z2 --recipes schemes -o s.json
    """
    from nibble.files import check_outputs, write_json
    from nibble.mixed import load_target, pricing_of, within
    from nibble.quantize.sensitivity.schemes import select
    from nibble.quantize.sensitivity.study import Rules, Study
    from nibble.quantize.sensitivity.widths import highest, parse_widths

    check_outputs([output, plot], [model, calib, Path(recipe), images, annotations])
    _check_options(metric, images, annotations, board, cycles)
    _check_places(recipes, plot, calib, images)
    network = _open(model, calib, recipe, board)
    widths, high = parse_widths(bits, network.recipe), highest(network.recipe)
    free = [name for name in select(list(network.assigned), include or [], exclude or []) if name in network.inner()]
    truth = _slice(network, images, annotations, limit)
    target = load_target(board, dpu) if board else None
    with ExitStack() as stack:
        effects = _effects(network, widths, metric, pictures, truth, _pool(stack, workers, address))
    _print_effects(effects, metric)
    lows = [width for width in widths if width != high]
    study = Study(network, high, lows, free, effects.damage(), pricing_of(network, target))
    schemes = study.candidates(Rules(top_k or [], threshold or [], points))
    schemes += [within(network, study, target, cycles)] if cycles and target else []
    if truth:
        float_ap = effects.reference if metric == "ap" else None
        _measure(network, study, schemes, truth, target, float_ap, measure)
    _print_schemes(schemes)
    write_json(output, _summary(effects, metric, schemes))
    if recipes:
        _write_recipes(study, schemes, recipes, network)
    if plot:
        _draw(effects, schemes, plot)


def _check_options(
    metric: str, images: Path | None, annotations: Path | None, board: str | None, cycles: int | None
) -> None:
    from nibble.errors import InputError
    from nibble.quantize.sensitivity.metrics import HEAD_METRICS

    if metric not in (*HEAD_METRICS, "ap"):
        raise InputError("--metric", repr(metric), f"one of {', '.join([*HEAD_METRICS, 'ap'])}")
    if (images is None) != (annotations is None):
        given, lacking = ("--images", "--annotations") if images else ("--annotations", "--images")
        raise InputError(given, f"no {lacking}", "both, or none of them")
    if metric == "ap" and images is None:
        raise InputError("--metric ap", "no --images and --annotations", "pictures to measure AP on")
    if cycles and board is None:
        raise InputError("--cycles", "no --board", "the board whose cycles they are")


def _check_places(folder: Path | None, plot: Path | None, *pictures: Path | None) -> None:
    """Refuse, before any work, to mix recipes with pictures, files for folders, plots without matplotlib."""
    from nibble.errors import InputError
    from nibble.quantize.sensitivity.plot import figure_class

    if plot:
        figure_class()
    if folder is None:
        return
    if any(folder.resolve() == each.resolve() for each in pictures if each):
        raise InputError(folder, "the folder of the pictures", "another one for recipes")
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "a file", "a folder for recipes")


def _open(model: Path, calib: Path, recipe: str, board: str | None) -> Network:
    from nibble.errors import InputError
    from nibble.quantize.sensitivity.network import load_integer_recipe, open_network

    base = load_integer_recipe(recipe)
    if board and base.form != "integer":
        raise InputError("--board", f"a recipe of form {base.form}, which no DPU runs", "one of form integer")
    return open_network(model, calib, base)


def _slice(network: Network, images: Path | None, annotations: Path | None, limit: int) -> Slice | None:
    from nibble.evaluate.annotations import Annotations
    from nibble.evaluate.heads import Slice

    if images is None or annotations is None:
        return None
    return Slice(images, Annotations.read(annotations).first(limit), network.decoder)


def _pool(stack: ExitStack, workers: int | None, address: str | None) -> Pool:
    from nibble.quantize.sensitivity.pool import processes, ray_cluster

    return stack.enter_context(ray_cluster(address)) if address else processes(workers)


def _effects(
    network: Network, widths: Sequence[LayerBits], metric: str, count: int, truth: Slice | None, pool: Pool
) -> Effects:
    from nibble.quantize.sensitivity.effects import try_convolutions
    from nibble.quantize.sensitivity.metrics import head_metric

    calibration = network.calibration.part(0, count)
    judge, inputs = (truth.metric(), truth.inputs()) if truth and metric == "ap" else (head_metric(metric), calibration)
    with progress_of("Trying convolutions") as track:
        return try_convolutions(network, widths, calibration, inputs, judge, pool, track)


def _measure(
    network: Network,
    study: Study,
    schemes: Sequence[Scheme],
    truth: Slice,
    target: Target | None,
    float_ap: float | None,
    count: int,
) -> None:
    """Measure some schemes; the float network too, unless its AP is known."""
    from nibble.mixed import price_of
    from nibble.quantize.sensitivity.prediction import measure_schemes

    def measured(recipe: IntegerRecipe) -> tuple[float, Price]:
        quantized = network.quantized(recipe)
        return _precision(truth, quantized), price_of(network, quantized, target)

    known = _precision(truth, network.model) if float_ap is None else float_ap
    measure_schemes(study, schemes, known, measured, count)


def _precision(truth: Slice, model: onnx.ModelProto) -> float:
    return truth.precision(model, lambda pictures: progress(pictures, "Measuring AP"))


def _print_effects(effects: Effects, metric: str) -> None:
    from nibble.quantize.sensitivity.widths import show

    rows = sorted(effects.rows, key=lambda row: -row.damage)
    shown = [(row.name, show(row.bits), f"{row.value:.6f}", f"{row.damage:.2e}") for row in rows[:MOST_ROWS]]
    rest = f" ({len(rows) - len(shown)} more in the file)" if len(rows) > len(shown) else ""
    print_table(f"Convolutions alone at low bits, worst first{rest}", ("layer", "bits", metric, "damage"), shown)


def _print_schemes(schemes: Sequence[Scheme]) -> None:
    columns = ("scheme", "INT4", "INT8", "float", "INT4 inputs", "bytes", "cycles", "damage", "AP predicted", "AP")
    rows = []
    for scheme in sorted(schemes, key=lambda each: (each.predicted_cycles or 0, each.bytes or 0)):
        keys = scheme.to_json()
        counts = [keys[key] for key in ("name", "int4", "int8", "float", "int4_activations")]
        costs = ["-" if cost is None else f"{cost:,}" for cost in (scheme.bytes, scheme.predicted_cycles)]
        precisions = ["-" if ap is None else f"{ap:.4f}" for ap in (scheme.predicted_ap, scheme.ap)]
        rows.append((*counts, *costs, f"{scheme.damage:.3g}", *precisions))
    print_table("Schemes (cycles predicted)", columns, rows)


def _summary(effects: Effects, metric: str, schemes: Sequence[Scheme]) -> dict[str, object]:
    from nibble.quantize.layers import FLOAT_BITS

    layers = [
        {
            "name": row.name,
            "bits": row.bits.weight_bits,
            "activation_bits": None if row.bits.activation_bits == FLOAT_BITS else row.bits.activation_bits,
            "metric": metric,
            "value": row.value,
            "damage": row.damage,
        }
        for row in effects.rows
    ]
    return {"layers": layers, "reference": effects.reference, "schemes": [scheme.to_json() for scheme in schemes]}


def _draw(effects: Effects, schemes: Sequence[Scheme], plot: Path) -> None:
    from nibble.quantize.sensitivity.plot import draw

    draw(effects.rows, schemes, plot)


def _write_recipes(study: Study, schemes: Sequence[Scheme], folder: Path, network: Network) -> None:
    from nibble.files import write_bytes
    from nibble.quantize.sensitivity.schemes import recipe_text

    for scheme in schemes:
        text = recipe_text(study.recipe_of(scheme), f"Scheme {scheme.name} of {network.path.name}.")
        write_bytes(folder / f"{scheme.name}.yaml", text.encode())
    out.print(f"{folder}: {len(schemes)} recipes")
