"""Elaborates the DPU at every built-in size with slang, a second front end beside Verilator's: `make lint` runs it."""

from __future__ import annotations

import sys

import pyslang
from pyslang.ast import Compilation, CompilationOptions
from pyslang.syntax import SyntaxTree

from nibble.config import DpuConfig, dpu_names, load_dpu
from nibble.rtl import TOP, parameters, sources


def elaborate(dpu: DpuConfig, packed: bool) -> list[str]:
    """Return what slang finds wrong with a size: a line each."""
    options = CompilationOptions()
    options.topModules = {TOP}
    options.paramOverrides = [f"{name}=32'd{value}" for name, value in parameters(dpu, packed)]
    manager = pyslang.SourceManager()
    compilation = Compilation(pyslang.Bag([options]))
    for path in sources():
        compilation.addSyntaxTree(SyntaxTree.fromFile(str(path), manager))
    engine = pyslang.DiagnosticEngine(manager)
    return [engine.formatMessage(found) for found in compilation.getAllDiagnostics() if found.isError()]


def main() -> int:
    """Tell of each size how it goes; 1 when something is wrong with one."""
    wrong = False
    for name in dpu_names():
        for packed in (False, True):
            found = elaborate(load_dpu(name), packed)
            wrong |= bool(found)
            print(f"{TOP} {name}{', packed' * packed}: {'; '.join(found) or 'elaborates'}")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
