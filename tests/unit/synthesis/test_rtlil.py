from __future__ import annotations

from nibble.synthesis.rtlil import instances, join_equal_modules, source_name


def lane(name: str, number: int, gate: str = "$and") -> str:
    return f"""attribute \\src "a.sv:{number}"
module {name}
  attribute \\src "a.sv:{number}"
  wire input 1 \\a
  wire output 2 \\y
  wire $procmux${number}_Y
  cell {gate} $and$a.sv:{number}${number}
    connect \\A \\a
    connect \\B $procmux${number}_Y
    connect \\Y {{ \\y $procmux${number}_Y }}
  end
end
"""


def top(*kinds: str) -> str:
    cells = "".join(f"  cell {kind} \\u{index}\n  end\n" for index, kind in enumerate(kinds))
    return f"module \\top\n{cells}end\n"


def kept(text: str) -> list[str]:
    return [line.split()[1] for line in join_equal_modules(text, "top").splitlines() if line.startswith("module ")]


def test_equal_lanes_become_one() -> None:
    joined = join_equal_modules(
        lane("\\lane$top.u0", 3) + lane("\\lane$top.u1", 71) + top("\\lane$top.u0", "\\lane$top.u1"), "top"
    )
    assert joined.count("module ") == 2
    assert joined.count("cell \\lane$top.u0 ") == 2
    assert "src" not in joined


def test_modules_that_hold_equal_ones_are_equal() -> None:
    pairs = [f"module \\pair$top.u{n}\n  cell \\lane$top.u{n}.x \\x\n  end\nend\n" for n in (0, 1)]
    lanes = [lane(f"\\lane$top.u{n}.x", n) for n in (0, 1)]
    assert kept("".join(lanes + pairs) + top("\\pair$top.u0", "\\pair$top.u1")) == [
        *("\\lane$top.u0.x", "\\pair$top.u0", "\\top")
    ]


def test_other_cells_or_other_names_stay_apart() -> None:
    names = ["\\lane$top.u0", "\\lane$top.u1", "\\path$top.u2"]
    text = lane(names[0], 1) + lane(names[1], 2, "$or") + lane(names[2], 3) + top(*names)
    assert kept(text) == [*names, "\\top"]


def test_memory_cells_of_two_kinds_stay_apart() -> None:
    names = ["\\lane$top.u0", "\\lane$top.u1"]
    assert kept(lane(names[0], 1, "$memrd_v2") + lane(names[1], 1, "$memwr_v2") + top(*names)) == [*names, "\\top"]


def test_modules_that_nothing_uses_go() -> None:
    assert kept(lane("\\lane$top.u0", 3) + top()) == ["\\top"]


def test_instances_multiply_down_the_hierarchy() -> None:
    cells = {"\\top": {"\\a": 2, "\\b": 1, "LUT2": 5}, "\\a": {"\\b": 3}, "\\b": {"FDRE": 1}, "\\unused": {}}
    assert instances(cells, "\\top") == {"\\top": 1, "\\a": 2, "\\b": 7}


def test_source_names() -> None:
    assert [source_name(name) for name in ("\\top", "\\lane$top.gen[0].u_lane")] == ["top", "lane"]
