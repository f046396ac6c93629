"""The steps of a FINN build, in order: from the quantized model to the driver package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nibble import __version__
from nibble.builds.dataflow_file import save_dataflow
from nibble.builds.manifest import SCRATCH
from nibble.builds.pipeline import Done, Outcome, Step
from nibble.builds.recipe import Build
from nibble.builds.vivado import target_of, vivado_steps
from nibble.graph.passes import optimize
from nibble.graph.prove import lower_proven
from nibble.onnx_io import load_model
from nibble.targets.finn.library import open_finn
from nibble.targets.finn.lower import lower


def finn_steps(build: Build) -> list[Step]:
    """Return the steps of a build. Raises UnsupportedError for a board that FINN has no project for."""
    target = target_of(build.board, build.settings.clock_mhz)
    steps: list[Step] = [_Lower(build.model)]
    if build.settings.bitstream:
        steps += vivado_steps(target, steps[-1].name, build.model)
    return steps


@dataclass(frozen=True)
class _Lower:
    """Proves the model node by node and lowers it to dataflow layers, unfolded."""

    model: Path
    name: str = "lower"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}

    @property
    def inputs(self) -> Sequence[Path]:
        return (self.model,)

    def tools(self) -> Mapping[str, str]:
        return {"nibble": __version__, **{name: version(name) for name in ("onnxruntime", "finn-plus")}}

    def needs(self, done: Done) -> str | None:
        return None

    def run(self, folder: Path, done: Done) -> Outcome:
        open_finn(folder / SCRATCH)
        graph, proofs = lower_proven(load_model(self.model), self.model)
        dataflow = lower(optimize(graph), str(self.model))
        save_dataflow(dataflow, folder)
        return Outcome(facts={"nodes": len(proofs), "layers": len(dataflow.model.graph.node)})
