"""The steps of a FINN build after RTL generation, with FINN+ 1.6.1's own transformations in FINN's own order.

hls_synth     HLSSynthIP; layers in RTL need none, their code is copied
stitched_ip   CreateStitchedIP: all layers as one packaged IP
bitstream     ZynqBuild: DMAs at the borders, a stitched IP for each partition, the project of the board
driver        MakePYNQDriver, and beside its settings all that the board needs

The step before must leave what `save_dataflow` writes: specialized layers with FIFOs between, their code generated.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nibble.builds.dataflow_file import GRAPH, STREAMS
from nibble.builds.pipeline import Done, Outcome, Step
from nibble.builds.session import finn_session
from nibble.builds.tools import missing_hls, missing_vivado, vivado_version
from nibble.config import Board
from nibble.errors import UnsupportedError

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

PLATFORMS = {"pynq-z2": "Pynq-Z2", "zcu104": "ZCU104"}
"""FINN's names of the boards."""
BOARD_FILES = {"Pynq-Z2": "board_files/pynq-z2"}
"""Of the boards that Vivado does not know, the folder in FINN's dependencies."""
PARTITIONED = "partitioned.onnx"
ACCELERATOR = "finn-accel"
RUNS = "finn_zynq_link.runs/impl_1"
TIMING = "top_wrapper_timing_summary_routed.rpt"
TIMING_MET = "All user specified timing constraints are met"


@dataclass(frozen=True)
class Target:
    """What FINN builds for: `platform` is FINN's name of the board."""

    platform: str
    part: str
    clock_mhz: float

    @property
    def period_ns(self) -> float:
        """Clock period."""
        return 1000 / self.clock_mhz

    @property
    def settings(self) -> Mapping[str, Any]:
        """As a step's settings."""
        return vars(self)


def target_of(board: Board, clock_mhz: float) -> Target:
    """Return FINN's target for a board; raises UnsupportedError for one that FINN has no project for."""
    if board.name not in PLATFORMS:
        raise UnsupportedError(board.name, f"a board other than {', '.join(PLATFORMS)} in a FINN bitstream")
    return Target(PLATFORMS[board.name], board.part, clock_mhz)


def vivado_steps(target: Target, source: str, golden: str) -> list[Step]:
    """Return the steps after `source`, which generates RTL; step `golden` leaves the golden model, golden.onnx."""
    return [_HlsSynth(target, source), _StitchedIp(target), _Bitstream(target), _Driver(target, source, golden)]


@dataclass(frozen=True)
class _VivadoStep:
    target: Target

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.target.settings

    @property
    def inputs(self) -> Sequence[Path]:
        return ()

    def tools(self) -> Mapping[str, str]:
        return {"finn-plus": version("finn-plus"), **vivado_version()}


@dataclass(frozen=True)
class _HlsSynth(_VivadoStep):
    """Synthesizes HLS layers to IP, in a copy of the generated code where memory files have absolute names."""

    source: str
    name: str = "hls_synth"

    def needs(self, done: Done) -> str | None:
        return missing_hls() if _hls_layers(done[self.source]) else None

    def run(self, folder: Path, done: Done) -> Outcome:
        with finn_session(self.name, folder):
            from finn.transformation.fpgadataflow.hlssynth_ip import HLSSynthIP
            from finn.transformation.fpgadataflow.replace_verilog_relpaths import ReplaceVerilogRelPaths

            model = _load(done[self.source])
            _own_code(model, folder.resolve() / "code")
            model = model.transform(HLSSynthIP(self.target.part))
            model = model.transform(ReplaceVerilogRelPaths())
            model.save(str(folder / GRAPH))
        return Outcome(facts={"hls_layers": _hls_layers(folder), "layers": len(model.graph.node)})


@dataclass(frozen=True)
class _StitchedIp(_VivadoStep):
    """Stitches all layers to one packaged IP, `ip`; `make_project.tcl` is what Vivado did."""

    name: str = "stitched_ip"

    def needs(self, done: Done) -> str | None:
        return missing_vivado()

    def run(self, folder: Path, done: Done) -> Outcome:
        with finn_session(self.name, folder):
            from finn.transformation.fpgadataflow.create_stitched_ip import CreateStitchedIP

            model = _load(done[_HlsSynth.name])
            model = model.transform(CreateStitchedIP(self.target.part, self.target.period_ns))
            project = Path(model.get_metadata_prop("vivado_stitch_proj"))
            shutil.copytree(project / "ip", folder / "ip")
            shutil.copy(project / "make_project.tcl", folder)
        return Outcome(facts={"ip": model.get_metadata_prop("vivado_stitch_vlnv")})


@dataclass(frozen=True)
class _Bitstream(_VivadoStep):
    """Builds the project of the board around the accelerator: bitstream, handoff file, reports, partitioned graph."""

    name: str = "bitstream"

    def needs(self, done: Done) -> str | None:
        return missing_vivado() or missing_hls() or _missing_dependency(self.target.platform)

    def run(self, folder: Path, done: Done) -> Outcome:
        with finn_session(self.name, folder):
            from finn.transformation.fpgadataflow.make_zynq_proj import ZynqBuild

            model = _load(done[_HlsSynth.name])
            partitions = folder.resolve() / "partitions"
            build = ZynqBuild(self.target.platform, self.target.period_ns, partition_model_dir=partitions)
            model = model.transform(build)
            model.save(str(folder / PARTITIONED))
            project = Path(model.get_metadata_prop("vivado_pynq_proj"))
            shutil.copy(model.get_metadata_prop("bitfile"), folder / f"{ACCELERATOR}.bit")
            shutil.copy(model.get_metadata_prop("hw_handoff"), folder / f"{ACCELERATOR}.hwh")
            shutil.copy(model.get_metadata_prop("vivado_synth_rpt"), folder)
            shutil.copy(project / RUNS / TIMING, folder)
        met = TIMING_MET in (folder / TIMING).read_text(encoding="utf-8", errors="replace")
        return Outcome(facts={"timing_met": met})


@dataclass(frozen=True)
class _Driver(_VivadoStep):
    """Gathers what the board needs: bitstream, settings of `finn-plus-driver`, streams, decoder facts, golden model."""

    source: str
    golden: str
    name: str = "driver"

    def tools(self) -> Mapping[str, str]:
        return {"finn-plus": version("finn-plus")}

    def needs(self, done: Done) -> str | None:
        return None

    def run(self, folder: Path, done: Done) -> Outcome:
        with finn_session(self.name, folder):
            from finn.transformation.fpgadataflow.make_driver import MakePYNQDriver
            from qonnx.core.modelwrapper import ModelWrapper

            model = ModelWrapper(str(done[_Bitstream.name] / PARTITIONED))
            model = model.transform(MakePYNQDriver("zynq-iodma", "FINNDMAOverlay", self.target.period_ns))
            shutil.copytree(model.get_metadata_prop("pynq_driver_dir"), folder, dirs_exist_ok=True)
        for name in (f"{ACCELERATOR}.bit", f"{ACCELERATOR}.hwh"):
            shutil.copy(done[_Bitstream.name] / name, folder)
        shutil.copy(done[self.source] / STREAMS, folder)
        shutil.copy(done[self.golden] / "golden.onnx", folder)
        requirement = f"finn-plus-driver=={version('finn-plus')}\n"
        (folder / "requirements.txt").write_text(requirement, encoding="utf-8")
        return Outcome(facts={"decoder": _save_decoder(folder / "golden.onnx", folder)})


def _save_decoder(golden: Path, folder: Path) -> bool:
    """Write the decoder facts of a model, if it has any; tell whether it has."""
    from nibble.onnx_io import has_decoder, load_model, read_decoder

    model = load_model(golden)
    if not has_decoder(model):
        return False
    (folder / "decoder.json").write_text(read_decoder(model, golden).to_json(), encoding="utf-8")
    return True


def _load(folder: Path) -> ModelWrapper:
    from qonnx.core.modelwrapper import ModelWrapper

    return ModelWrapper(str(folder / GRAPH))


def _hls_layers(folder: Path) -> int:
    import onnx

    nodes = onnx.load(folder / GRAPH).graph.node
    return sum(node.domain.endswith(".hls") for node in nodes)


def _own_code(model: ModelWrapper, folder: Path) -> None:
    """Copy the code of every layer to `folder`/<layer>, and make the layer's attributes name the copy."""
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        old, new = getCustomOp(node).get_nodeattr("code_gen_dir_ipgen"), folder / node.name
        shutil.copytree(old, new)
        for attribute in node.attribute:
            path = attribute.s.decode(errors="replace")
            if path == old or path.startswith(f"{old}{os.sep}"):
                attribute.s = f"{new}{path[len(old) :]}".encode()


def _missing_dependency(platform: str) -> str | None:
    """Return what FINN's project of a board reads from its dependencies and is not there, or None."""
    from finn.interface.settings import FINNSettings

    folder = Path(os.environ.get("FINN_DEPS") or FINNSettings().finn_deps)
    wanted = ["finn-hlslib", *([BOARD_FILES[platform]] if platform in BOARD_FILES else [])]
    absent = next((name for name in wanted if not (folder / name).is_dir()), None)
    return absent and f"{folder / absent}, which `finn deps update --batch` fetches"
