from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("finn")

from nibble.errors import NibbleError
from nibble.targets.finn.mend import mend, mended_library

FILES = ("fifo/hdl/fifo.sv", "mvu/mvu_vvu_axi.sv", "mvu/add_multi.sv")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The files of FINN+'s RTL library that are mended, and one that is not."""
    spec = find_spec("finn")
    assert spec is not None
    assert spec.origin is not None
    for name in (*FILES, "mvu/replay_buffer.sv"):
        target = tmp_path / "library" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(spec.origin).parent / "finn-rtllib" / name, target)
    return tmp_path / "library"


def texts(library: Path) -> dict[str, str]:
    return {str(path.relative_to(library)): path.read_text() for path in sorted(library.rglob("*.sv"))}


def test_three_files_change_and_nothing_else(library: Path) -> None:
    before = texts(library)
    mend(library)
    after = texts(library)
    assert {name for name in before if before[name] != after[name]} == set(FILES)


def test_what_changes(library: Path) -> None:
    mend(library)
    fifo, axi, adder = ((library / name).read_text() for name in FILES)
    assert "typedef struct packed {" in fifo
    assert "5 + $clog2(SIMD) + (SIMD == 1);" in axi
    function = adder.index("function leaf_load_t init_leaf_loads();")
    assert function < adder.index("genTree") < adder.index("localparam leaf_load_t")
    assert adder.count("endfunction") == 1


def test_the_copy_is_made_once_and_the_library_stays(library: Path, tmp_path: Path) -> None:
    before = texts(library)
    folder = tmp_path / "out"
    folder.mkdir()
    copy = mended_library(library, folder)
    assert copy == folder / "finn-rtllib"
    assert texts(library) == before
    made = (copy / FILES[0]).stat().st_mtime_ns
    assert mended_library(library, folder) == copy
    assert (copy / FILES[0]).stat().st_mtime_ns == made
    assert [path.name for path in folder.iterdir()] == ["finn-rtllib"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_version_is_named(library: Path, name: str) -> None:
    (library / name).write_text("module other; endmodule\n")
    with pytest.raises(NibbleError) as caught:
        mend(library)
    assert str(caught.value) == f"{library / name}: not the file of FINN+ 1.6.1, which could be mended"


def test_a_library_that_is_mended_already_is_refused(library: Path) -> None:
    mend(library)
    with pytest.raises(NibbleError, match=r"fifo\.sv: not the file of FINN\+ 1\.6\.1, which could be mended$"):
        mend(library)


def test_a_failed_copy_leaves_nothing_behind(library: Path, tmp_path: Path) -> None:
    (library / FILES[2]).write_text("")
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(NibbleError):
        mended_library(library, folder)
    assert not list(folder.iterdir())
