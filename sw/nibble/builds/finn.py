"""The steps of a FINN build, in order: from the quantized model to the driver package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nibble import __version__
from nibble.builds import finn_model
from nibble.builds.dataflow_file import load_dataflow, save_dataflow
from nibble.builds.manifest import SCRATCH, TABLE
from nibble.builds.pipeline import Done, Outcome, Step
from nibble.builds.recipe import Build
from nibble.builds.tools import versions
from nibble.builds.vivado import target_of, vivado_steps
from nibble.errors import CheckFailedError
from nibble.files import write_bytes, write_json
from nibble.graph.feeds import Feeds, picture_files
from nibble.graph.passes import optimize
from nibble.graph.prove import lower_proven
from nibble.onnx_io import load_model, model_files
from nibble.simulate.check import frames_of
from nibble.simulate.dataflow import Golden, PassCheck
from nibble.simulate.fifos import fifo_depths
from nibble.simulate.hls_cppsim import tools as hls_tools
from nibble.simulate.hls_cppsim import verify as verify_hls
from nibble.simulate.network import check
from nibble.targets.finn.budget import Budget
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.folding import (
    COLUMNS,
    Folding,
    apply_folding,
    estimate,
    fastest,
    fold,
    load_folding,
    reachable,
    save_folding,
    table,
    total,
)
from nibble.targets.finn.library import open_finn
from nibble.targets.finn.lower import lower
from nibble.targets.finn.network import load_network, save_network
from nibble.targets.finn.pack import final_resources, pack_network
from nibble.targets.finn.passes import (
    DuplicateForks,
    Fifos,
    Generate,
    Pass,
    Specialize,
    WidthConverters,
    layer,
    run_passes,
)
from nibble.targets.finn.rtl_layers import register

GOLDEN = "golden.onnx"
FOLDING = "folding.yaml"
FIFOS = "fifos.json"
NETWORK = "network.finn"
UNSIMULATED = 256
"""Beats of every FIFO of a network that cannot be simulated here."""


def finn_steps(build: Build) -> list[Step]:
    """Return the steps of a build. Raises UnsupportedError for a board that FINN has no project for."""
    target = target_of(build.board, build.settings.clock_mhz)
    steps: list[Step] = [_Import(build), _Lower(build), _Fold(build), _Layers(build)]
    steps += [_Fifos(build), _Generate(build), _Rtlsim(build)]
    if build.settings.bitstream:
        steps += vivado_steps(target, _Generate.name, _Import.name)
    return steps


@dataclass(frozen=True)
class _FinnStep:
    """What the steps before Vivado have in common."""

    build: Build

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}

    @property
    def inputs(self) -> Sequence[Path]:
        return ()

    def tools(self) -> Mapping[str, str]:
        return {"nibble": __version__, **versions("onnxruntime", "finn-plus")}

    def needs(self, done: Done) -> str | None:
        return None

    def opened(self, folder: Path, done: Done, source: str) -> Dataflow:
        """Return the dataflow that step `source` left, FINN opened with `folder` to write to."""
        _open(folder)
        graph, _ = lower_proven(load_model(done["import"] / GOLDEN), self.build.model)
        return load_dataflow(done[source], optimize(graph))

    def feeds(self, done: Done) -> list[Feeds]:
        """Return the frames of the build: pictures, or seeded random ones."""
        golden = (done["import"] / GOLDEN).read_bytes()
        return frames_of(golden, self.build.model, self.pictures(), self.build.settings.frames)

    def pictures(self) -> list[Path]:
        """Return the pictures that `feeds` reads, none where the frames are random."""
        return picture_files(self.build.images, self.build.settings.frames) if self.build.images else []

    def passes(self, dataflow: Dataflow, passes: Sequence[Pass], done: Done) -> tuple[Dataflow, Mapping[str, Any]]:
        """Run `passes`, each checked against onnxruntime; return the result and the elements compared."""
        checked = PassCheck(Golden.of(dataflow, self.feeds(done)[0]), [])
        result = run_passes(dataflow, passes, checked)
        return result, {"elements_compared": sum(found.elements for _, found in checked.results)}


def _open(folder: Path) -> None:
    open_finn(folder / SCRATCH)
    register()


def _hls_only(dataflow: Dataflow) -> str:
    """Say which layer keeps the network from rtlsim, or nothing."""
    names = [node.name for node in dataflow.model.graph.node if node.op_type.endswith("_hls")]
    return f"layer {names[0]} is HLS, which needs Vivado" if names else ""


@dataclass(frozen=True)
class _Import(_FinnStep):
    """Writes the golden reference: QONNX and QDQ models become QOperator models, others stay as they are."""

    name: str = "import"

    @property
    def inputs(self) -> Sequence[Path]:
        return model_files(self.build.model)

    def run(self, folder: Path, done: Done) -> Outcome:
        golden = finn_model.golden(self.build.model)
        write_bytes(folder / GOLDEN, golden.SerializeToString())
        feeds = self.feeds({self.name: folder})[:1]
        compared, moved = finn_model.compare(self.build.model, golden, feeds)
        facts = {"elements_compared": compared, "rounded_biases": finn_model.rounded_biases(golden)}
        return Outcome(None if moved else True, {**facts, **({"moved_by_rounding": moved} if moved else {})})


@dataclass(frozen=True)
class _Lower(_FinnStep):
    """Proves the model node by node and lowers it to dataflow layers, unfolded."""

    name: str = "lower"

    def run(self, folder: Path, done: Done) -> Outcome:
        _open(folder)
        graph, proofs = lower_proven(load_model(done["import"] / GOLDEN), self.build.model)
        dataflow = lower(optimize(graph), str(self.build.model))
        dataflow, compared = self.passes(dataflow, [DuplicateForks()], done)
        save_dataflow(dataflow, folder)
        return Outcome(True, {"nodes_proven": len(proofs), "layers": len(dataflow.model.graph.node), **compared})


@dataclass(frozen=True)
class _Fold(_FinnStep):
    """Folds for the wanted frames a second, or as an edited file says."""

    name: str = "fold"

    @property
    def settings(self) -> Mapping[str, Any]:
        chosen = self.build.settings
        return {"fps": chosen.fps, "clock_mhz": chosen.clock_mhz, "board": self.build.board.model_dump(mode="json")}

    @property
    def inputs(self) -> Sequence[Path]:
        return (self.build.folding,) if self.build.folding else ()

    def run(self, folder: Path, done: Done) -> Outcome:
        dataflow = self.opened(folder, done, "lower")
        budget = Budget.of(self.build.board, self.build.settings.clock_mhz)
        chosen = (
            load_folding(self.build.folding) if self.build.folding else fold(dataflow, budget, self.build.settings.fps)
        )
        found = estimate(dataflow, chosen, budget)
        folded, compared = self.passes(dataflow, [_ApplyFolding(chosen)], done)
        save_folding(chosen, folder / FOLDING)
        save_dataflow(folded, folder)
        title = f"{budget.board} at {budget.clock_mhz:g} MHz"
        write_json(folder / TABLE, {"title": title, "columns": COLUMNS, "rows": table(chosen, found, budget)})
        slowest, used = max(found, key=lambda item: item.cycles), total(found)
        facts = {"fps": reachable(budget.fps(slowest.cycles)), "slowest": slowest.name, **vars(used)}
        facts["fits"] = used.fits(budget.available)
        return Outcome(True, {**facts, "most_fps": reachable(fastest(dataflow, budget)[0]), **compared})


@dataclass(frozen=True)
class _ApplyFolding:
    folding: Folding
    name: str = "fold"

    def apply(self, dataflow: Dataflow) -> Dataflow:
        return apply_folding(dataflow, self.folding)


@dataclass(frozen=True)
class _Layers(_FinnStep):
    """Makes RTL or HLS layers of all, with converters between streams of unequal width; runs the C++ of HLS layers."""

    name: str = "specialize"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"part": self.build.board.part}

    def tools(self) -> Mapping[str, str]:
        return {**super().tools(), **hls_tools()}

    def run(self, folder: Path, done: Done) -> Outcome:
        part = self.build.board.part
        passes: list[Pass] = [Specialize(part), WidthConverters(), Specialize(part, name="specialize_converters")]
        dataflow, compared = self.passes(self.opened(folder, done, "fold"), passes, done)
        save_dataflow(dataflow, folder)
        inputs = Golden.of(dataflow, self.feeds(done)[0]).inputs(dataflow)
        hls = verify_hls(dataflow, inputs, folder / SCRATCH / "cppsim")
        return Outcome(True, {"layers": len(dataflow.model.graph.node), **hls, **compared})


@dataclass(frozen=True)
class _Fifos(_FinnStep):
    """Finds the depths of FIFOs by simulation and inserts them; all `UNSIMULATED` deep where a layer is HLS."""

    name: str = "fifos"

    @property
    def settings(self) -> Mapping[str, Any]:
        chosen = self.build.settings
        part = self.build.board.part
        return {"part": part, "clock_mhz": chosen.clock_mhz, "fps": chosen.fps, "frames": chosen.frames}

    @property
    def inputs(self) -> Sequence[Path]:
        return self.pictures()

    def tools(self) -> Mapping[str, str]:
        return {**super().tools(), **versions("verilator")}

    def run(self, folder: Path, done: Done) -> Outcome:
        dataflow = self.opened(folder, done, "specialize")
        hls = _hls_only(dataflow)
        depths = {} if hls else self._depths(dataflow, folder, done)
        write_json(folder / FIFOS, depths)
        uram = self.build.board.available.uram > 0
        passes: list[Pass] = [Fifos(depths, UNSIMULATED, ultra=uram)]
        passes.append(Specialize(self.build.board.part, name="specialize_fifos"))
        dataflow, compared = self.passes(dataflow, passes, done)
        save_dataflow(dataflow, folder)
        found = {"fifos": len(depths), "deepest": max(depths.values())} if depths else {"not_simulated": hls}
        return Outcome(True, {**found, **compared})

    def _depths(self, dataflow: Dataflow, folder: Path, done: Done) -> dict[str, int]:
        part, clock = self.build.board.part, self.build.settings.clock_mhz
        generate: list[Pass] = [Fifos(), Specialize(part), Generate(part, clock, folder / SCRATCH / "probe")]
        probe, _ = self.passes(dataflow, generate, done)
        frames = [Golden.of(dataflow, feed).inputs(dataflow) for feed in self.feeds(done)]
        return fifo_depths(probe, str(self.build.model), frames, self._interval(dataflow))

    def _interval(self, dataflow: Dataflow) -> int:
        """Return the cycles a frame to reach: those of the wanted rate, or 1 % above the slowest layer's estimate."""
        slowest = max(int(layer(node).get_exp_cycles()) for node in dataflow.model.graph.node)
        wanted = Budget.of(self.build.board, self.build.settings.clock_mhz).cycles(self.build.settings.fps)
        return max(wanted, slowest + slowest // 100)


@dataclass(frozen=True)
class _Generate(_FinnStep):
    """Generates the RTL and HLS code of every layer, stitches it, and packs the network file."""

    name: str = "generate"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "board": self.build.board.name,
            "part": self.build.board.part,
            "clock_mhz": self.build.settings.clock_mhz,
        }

    def run(self, folder: Path, done: Done) -> Outcome:
        dataflow = self.opened(folder, done, "fifos")
        part, clock = self.build.board.part, self.build.settings.clock_mhz
        dataflow, compared = self.passes(dataflow, [Generate(part, clock, folder / "rtl")], done)
        save_dataflow(dataflow, folder)
        budget = Budget.of(self.build.board, clock)
        if not _hls_only(dataflow):
            save_network(pack_network(dataflow, budget, str(self.build.model)), folder / NETWORK)
        used = final_resources(dataflow, budget)
        return Outcome(True, {**vars(used), "fits": used.fits(budget.available), **compared})


@dataclass(frozen=True)
class _Rtlsim(_FinnStep):
    """Simulates the stitched network in Verilator, frames back to back, without stalls and with random ones."""

    name: str = "rtlsim"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"stalls": self.build.settings.stalls, "frames": self.build.settings.frames}

    @property
    def inputs(self) -> Sequence[Path]:
        return self.pictures()

    def tools(self) -> Mapping[str, str]:
        return {**super().tools(), **versions("verilator")}

    def run(self, folder: Path, done: Done) -> Outcome:
        path = done["generate"] / NETWORK
        if not path.exists():
            return Outcome(None, {"not_simulated": _hls_only(self.opened(folder, done, "generate"))})
        network = load_network(path)
        feeds = self.feeds(done)
        smooth = check(network, path, feeds)
        stalled = check(network, path, feeds, stall=self.build.settings.stalls)
        for found in (smooth, stalled):
            if not found.simulation.bit_exact:
                name, wrong = next(iter(found.simulation.mismatches.items()))
                raise CheckFailedError(f"tensor {name} differs from onnxruntime in {wrong} elements")
        facts = {
            "cycles": smooth.interval,
            "latency": smooth.latency,
            "fps": round(network.manifest.clock_mhz * 1e6 / smooth.interval, 1),
            "elements_compared": smooth.simulation.elements_compared + stalled.simulation.elements_compared,
        }
        write_json(folder / "rtlsim.json", facts)
        return Outcome(True, facts)
