"""Writes everything that is made from isa.yaml: the Python module, SystemVerilog package, C++ header and documentation.

python hw/isa/generate.py            write the files
python hw/isa/generate.py --check    write nothing; exit 1 and name the files that are stale
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any

import jinja2
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OUTPUTS = {
    "isa.py.j2": "sw/nibble/targets/dpu/isa.py",
    "isa_pkg.sv.j2": "hw/rtl/isa_pkg.sv",
    "isa.h.j2": "hw/model/isa.h",
    "isa.md.j2": "docs/isa.md",
}
Spec = dict[str, Any]


def load(path: Path = HERE / "isa.yaml") -> Spec:
    """Read the description, add what the templates need, and check that its fields fit. Raises ValueError."""
    spec: Spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec["bits"] = 32 * spec["words"]
    for instruction in spec["instructions"]:
        complete(instruction, spec["common"])
        check(instruction, spec)
    for engine in spec["engines"]:
        ends = [[queue[end] == engine for queue in spec["queues"]] for end in ("to", "from")]
        spec.setdefault("masks", {})[engine] = [sum(bit << n for n, bit in enumerate(end)) for end in ends]
    spec["notes"] = comment_above(path, "instructions:")
    return spec


def complete(instruction: Spec, common: list[Spec]) -> None:
    """Give every field its absolute position and all keys, and list the reserved gaps from the top down."""
    instruction["doc"] = instruction["doc"].strip()
    for field in [*common, *instruction["fields"]]:
        field.setdefault("signed", False)
        field.setdefault("float", False)
        field.setdefault("enum", None)
        field.setdefault("doc", "")
        field["position"] = 32 * field["word"] + field["lsb"]
        field["mask"] = ((1 << field["width"]) - 1) << field["position"]
    instruction["all_fields"] = sorted([*common, *instruction["fields"]], key=lambda field: -int(field["position"]))
    instruction["used"] = sum({field["mask"] for field in instruction["all_fields"]})


def check(instruction: Spec, spec: Spec) -> None:
    """Refuse fields that overlap or leave their word, and opcodes given twice."""
    name, used = instruction["name"], 0
    for field in instruction["all_fields"]:
        if field["lsb"] + field["width"] > 32 or field["word"] >= spec["words"]:
            raise ValueError(f"{name}.{field['name']} leaves its word")
        if used & field["mask"]:
            raise ValueError(f"{name}.{field['name']} overlaps another field")
        used |= field["mask"]
    if [other["opcode"] for other in spec["instructions"]].count(instruction["opcode"]) > 1:
        raise ValueError(f"{name}: opcode {instruction['opcode']} is given twice")


def comment_above(path: Path, key: str) -> list[str]:
    """Return the paragraphs of the comment that stands right above `key`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    last = first = lines.index(key)
    while lines[first - 1].startswith("#"):
        first -= 1
    text = "\n".join(line.removeprefix("#").strip() for line in lines[first:last])
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def layout(instruction: Spec, bits: int) -> list[tuple[str, int, Spec | None]]:
    """Return (name, width, field) of every field and every reserved gap, from the top bit down."""
    rows: list[tuple[str, int, Spec | None]] = []
    top = bits
    for field in instruction["all_fields"]:
        end = field["position"] + field["width"]
        if end < top:
            rows.append((f"reserved{end}", top - end, None))
        rows.append((field["name"], field["width"], field))
        top = field["position"]
    return rows


def camel(name: str) -> str:
    """LOAD_FEATURES, load_features -> LoadFeatures."""
    return "".join(word.capitalize() for word in name.lower().split("_"))


def wrap(text: str, prefix: str = "", width: int = 120) -> str:
    """Fill `text` to lines of at most `width`, each after `prefix`."""
    return textwrap.fill(text, width, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def render(spec: Spec) -> dict[Path, str]:
    """Return the content of every generated file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(camel=camel, fill=wrap)
    environment.globals["layout"] = layout
    return {ROOT / target: environment.get_template(name).render(spec) for name, target in OUTPUTS.items()}


def stale(files: dict[Path, str]) -> list[Path]:
    """Return the files that are absent or differ from what would be written."""
    return [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    """Write or check the generated files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    files = render(load())
    changed = stale(files)
    for path in changed:
        print(f"{'stale' if arguments.check else 'wrote'} {path.relative_to(ROOT)}")
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
    return 1 if arguments.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
