from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nibble import config
from nibble.errors import InputError
from nibble.paths import BUILD_CONFIGS

TINY: dict[str, Any] = yaml.safe_load((BUILD_CONFIGS / "dpu" / "tiny.yaml").read_text())


def write(folder: Path, content: Any, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def message(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        config.load_dpu(path)
    return str(caught.value)


def test_every_built_in_file_loads() -> None:
    assert {"tiny", "z7020", "zu7ev"} <= set(config.dpu_names())
    assert {"pynq-z2", "zcu104"} <= set(config.board_names())
    hashes = [config.load_dpu(name).hash for name in config.dpu_names()]
    assert len(set(hashes)) == len(hashes)
    for name in config.board_names():
        assert config.load_board(name).dpu in config.dpu_names()


def test_derived_figures() -> None:
    tiny = config.load_dpu("tiny")
    assert (tiny.name, tiny.macs_per_cycle, tiny.macs_per_cycle4, tiny.unit_bytes) == ("tiny", 128, 256, 4)


def test_hash_depends_on_parameters_only(tmp_path: Path) -> None:
    same = config.load_dpu(write(tmp_path, TINY, "other.yaml"))
    changed = config.load_dpu(write(tmp_path, {**TINY, "accumulators": 255}))
    assert same.name == "other"
    assert same.hash == config.load_dpu("tiny").hash != changed.hash
    assert 0 <= changed.hash < 1 << 32


def test_unknown_name_lists_the_names() -> None:
    assert message("huge") == "huge: found no such file or name, expected a YAML file or one of tiny, z7020, zu7ev"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"inputs": 12}, "inputs: 12, expected a multiple of 8"),
        ({"outputs": 12}, "outputs: 12, expected a multiple of 8"),
        ({"dsp_outputs": 7}, "dsp_outputs: 7, expected a multiple of 2"),
        ({"dsp_outputs": 18}, "dsp_outputs: 18, expected at most 16, all outputs"),
        ({"inputs": 0}, "inputs: 0, expected greater than or equal to 1"),
        ({"inputs": "8"}, "inputs: '8', expected a valid integer"),
        ({"feature_bytes": 4 << 21}, "feature_bytes: 8388608, expected at most 4194304, what its addresses reach"),
        ({"weight_bytes": 1000}, "weight_bytes: 1000, expected a multiple of 16"),
        ({"table_count": 17}, "table_count: 17, expected at most 16, what its addresses reach"),
        ({"vector_lanes": 3}, "vector_lanes: 3, expected a divisor of inputs, 8"),
        ({"requantize_lanes": 5}, "requantize_lanes: 5, expected a divisor of inputs, 8"),
        ({"bus_bytes": 12}, "bus_bytes: 12, expected 8, 16, 32 or 64"),
        ({"speed": 1}, "unknown key 'speed', expected known keys only"),
        ({"name": "tiny"}, "unknown key 'name', expected the file's name to be the name"),
    ],
)
def test_bad_values(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    path = write(tmp_path, {**TINY, **change})
    assert message(path) == f"{path}: found {text}"


def test_missing_key(tmp_path: Path) -> None:
    path = write(tmp_path, {key: value for key, value in TINY.items() if key != "bus_bytes"})
    assert message(path) == f"{path}: found no key 'bus_bytes', expected every key to be given"


def test_no_mapping(tmp_path: Path) -> None:
    path = write(tmp_path, "- 1\n- 2\n")
    assert message(path) == f"{path}: found a list, expected a mapping of keys"


def test_nested_key_is_named(tmp_path: Path) -> None:
    board = yaml.safe_load((BUILD_CONFIGS / "boards" / "pynq-z2.yaml").read_text())
    board["available"]["dsp"] = "many"
    path = write(tmp_path, board)
    with pytest.raises(InputError) as caught:
        config.load_board(path)
    assert str(caught.value) == f"{path}: found available.dsp: 'many', expected a valid integer"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("clock_mhz", 1e308, "less than or equal to 10000"),
        ("clock_mhz", 0, "greater than or equal to 1"),
        ("clock_mhz", float("nan"), "a finite number"),
        ("ddr_bytes", 0, "greater than or equal to 1"),
        ("ddr_bytes_per_second", 1e-300, "greater than or equal to 1000000"),
        ("ddr_latency_cycles", 10**20, "less than or equal to 1000000"),
    ],
)
def test_absurd_boards_are_refused(key: str, value: float, expected: str, tmp_path: Path) -> None:
    board = yaml.safe_load((BUILD_CONFIGS / "boards" / "pynq-z2.yaml").read_text())
    path = write(tmp_path, {**board, key: value})
    with pytest.raises(InputError) as caught:
        config.load_board(path)
    assert str(caught.value) == f"{path}: found {key}: {value!r}, expected {expected}"


def test_a_refresh_leaves_time(tmp_path: Path) -> None:
    board = yaml.safe_load((BUILD_CONFIGS / "boards" / "pynq-z2.yaml").read_text())
    board["ddr_timing"]["refresh_stall_ns"] = 4000
    path = write(tmp_path, board)
    with pytest.raises(InputError) as caught:
        config.load_board(path)
    assert str(caught.value) == f"{path}: found refresh_stall_ns: 4000.0, expected at most half of refresh_ns"


@given(content=st.binary(max_size=80))
def test_any_bytes_give_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    assert "\n" not in message(path)
