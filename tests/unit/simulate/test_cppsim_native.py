"""Building the model: the cache, and what goes wrong in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nibble.errors import NibbleError
from nibble.simulate import native


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that compiles at once, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "SOURCES", tmp_path / "model")
    (tmp_path / "model").mkdir()
    source = tmp_path / "model" / "one.cpp"
    source.write_text("int one() { return 1; }")
    return source


def message() -> str:
    with pytest.raises(NibbleError) as caught:
        native.library()
    return str(caught.value)


def test_built_once_for_the_same_sources(sources: Path) -> None:
    first = native.library()
    stamp = first.stat().st_mtime_ns
    assert first.parent == native.cache_folder()
    assert native.library() == first
    assert first.stat().st_mtime_ns == stamp
    assert list(first.parent.iterdir()) == [first]
    sources.write_text("int one() { return 2; }")
    assert native.library() != first


def test_other_options_are_another_library(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = native.library()
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-O0"))
    assert native.library() != first


def test_compiler_errors_are_in_a_log(sources: Path) -> None:
    sources.write_text("int one() { return two; }")
    text = message()
    log = Path(text.removeprefix("g++ could not build cppsim; its messages are in "))
    assert log.parent == native.cache_folder()
    assert "two" in log.read_text()
    assert list(log.parent.iterdir()) == [log]


def test_no_compiler(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert message() == ("cppsim needs the C++ compiler g++, which was not found: install it (Debian: apt install g++)")


def test_unusable_cache_folder(sources: Path) -> None:
    folder = native.cache_folder()
    folder.parent.mkdir()
    folder.write_text("in the way")
    assert message() == f"{folder}: cannot build cppsim there (File exists)"


def test_cache_folder_without_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert native.cache_folder() == Path.home() / ".cache" / "nibble"
