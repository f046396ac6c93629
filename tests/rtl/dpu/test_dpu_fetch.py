"""The fetch unit: what it offers, what it refuses, where it ends; with a reader that stalls and runs ahead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from bench import Pins, refusal
from test_cppsim_run import ADD, CONV, LOAD, MULTIPLY, POOL, STORE, WEIGHTS

from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import Engine, Error

ENGINES = [Engine.FEATURE_LOAD, Engine.WEIGHT_LOAD, Engine.COMPUTE, Engine.STORE]
KINDS = [LOAD, WEIGHTS, CONV, POOL, ADD, MULTIPLY, STORE, isa.End()]
REQUEST = ("request_valid_o", "request_offset_o", "request_bytes_o")
STATE = ("valid_o", "blocked_o", "end_o", "error_o", "error_code_o", "address_o", "engine_o", "data_ready_o")
Image = npt.NDArray[np.uint8]


def legal(word: int) -> isa.Instruction | None:
    """Return the instruction that the 256 bits are, if fetch may hand it on."""
    try:
        found = isa.decode(word.to_bytes(32, "little"))
    except ValueError:
        return None
    bad = found.wait & ~isa.WAITABLE[found.ENGINE] or found.signal & ~isa.SIGNALABLE[found.ENGINE]
    return None if bad else found


@dataclass
class Run:
    """What came of a program."""

    offered: list[tuple[int, int, bytes]] = field(default_factory=list)
    """Engine, address and bytes."""
    error: tuple[Error, int] | None = None
    ended: bool = False


class Reader:
    """A reader that answers requests in order, some of its words late."""

    def __init__(self, image: Image, size: int, bus: int, seed: int, patience: float) -> None:
        self.image, self.size, self.bus, self.patience = image, size, bus, patience
        self.random = np.random.default_rng(seed)
        self.words: list[int] = []

    def yes(self) -> bool:
        return bool(self.random.random() < self.patience)

    def take(self, offset: int, count: int) -> None:
        assert offset % 32 == count % 32 == 0 < count
        assert offset + count <= self.size
        self.words += range(offset, offset + count, self.bus)

    def word(self, at: int) -> Image:
        return np.ascontiguousarray(self.image[at : at + self.bus][np.newaxis])


def fetch(
    pins: Pins,
    image: Image,
    program: int = 0,
    *,
    seed: int = 0,
    size: int | None = None,
    patience: float = 1.0,
    fails_at: int = -1,
) -> Run:
    """Run a program to its END or error. The word at byte `fails_at` comes with a bus error."""
    bus = pins.ports["data_i"].bits // 8
    reader = Reader(image, len(image) if size is None else size, bus, seed, patience)
    run = Run()
    pins.run({"run_i": 0, "program_i": program, "size_i": reader.size, "taken_i": 0, "axi_error_i": 0}, [], 2)
    for _ in range(300 + 50 * len(image) // bus):
        present = bool(reader.words) and reader.yes()
        sent: dict[str, Any] = {
            "run_i": 1,
            "request_ready_i": int(len(reader.words) < 60 and reader.yes()),
            "data_valid_i": int(present),
            "data_i": reader.word(reader.words[0]) if present else np.full((1, bus), 0x55, np.uint8),
            "axi_error_i": int(present and reader.words[0] == fails_at),
            "taken_i": int(reader.yes()),
        }
        found = {name: rows[0] for name, rows in pins.run(sent, [*STATE, *REQUEST, "instr_o"], 1).items()}
        if found["valid_o"]:
            assert found["blocked_o"]
        if found["valid_o"] and sent["taken_i"] and not found["error_o"]:
            run.offered.append((int(found["engine_o"]), int(found["address_o"]), found["instr_o"].tobytes()))
        if found["request_valid_o"] and sent["request_ready_i"]:
            reader.take(int(found["request_offset_o"]), int(found["request_bytes_o"]))
        if present and found["data_ready_o"]:
            reader.words.pop(0)
        run.ended = bool(found["end_o"])
        if found["error_o"]:
            run.error = (Error(int(found["error_code_o"])), int(found["address_o"]))
        if run.ended or run.error:
            break
    check_stopped(pins, run.ended)
    return run


def check_stopped(pins: Pins, ended: bool) -> None:
    """Nothing more comes, whatever the reader does."""
    rest = pins.run({"taken_i": 1, "axi_error_i": [0, 1, 0], "data_valid_i": 1}, [*STATE, "request_valid_o"])
    for name in ("valid_o", "error_o", "request_valid_o", "data_ready_o"):
        assert not rest[name].any()
    assert rest["blocked_o"].all()
    assert (rest["end_o"] == ended).all()


def image_of(*instructions: isa.Instruction) -> Image:
    return np.frombuffer(b"".join(i.encode() for i in instructions), np.uint8)


def everything(count: int, seed: int) -> list[isa.Instruction]:
    random = np.random.default_rng(seed)
    return [KINDS[n] for n in random.integers(0, len(KINDS) - 1, count)]


@pytest.fixture(scope="module", params=[8, 16])
def pins(request: pytest.FixtureRequest) -> Pins:
    found = Pins("dpu_fetch", {"BusBytes": request.param})
    found.reset()
    return found


@pytest.mark.parametrize("patience", [1.0, 0.6, 0.15])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 40])
def test_programs(pins: Pins, patience: float, count: int) -> None:
    """Whatever lies behind END is not offered; nothing is asked for beyond SIZE."""
    program = everything(count, count)
    for behind in (0, 1, 7):
        image = image_of(*program, isa.End(), *[isa.Conv()] * behind)
        run = fetch(pins, image, seed=behind, patience=patience)
        assert (run.error, run.ended) == (None, True)
        assert run.offered == [(ENGINES.index(i.ENGINE), 32 * n, i.encode()) for n, i in enumerate(program)]


def test_program_elsewhere(pins: Pins) -> None:
    image = np.concatenate([image_of(*[isa.Conv()] * 9), image_of(POOL, isa.End())])
    run = fetch(pins, image, 9 * 32)
    assert (run.offered, run.ended) == ([(2, 9 * 32, POOL.encode())], True)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 64, 95, 96, 127, 128, 160, 191])
@pytest.mark.parametrize("patience", [1.0, 0.4])
def test_program_that_goes_on_beyond_size(pins: Pins, size: int, patience: float) -> None:
    image = image_of(*[POOL] * 6)
    run = fetch(pins, image, seed=size, size=size, patience=patience)
    assert len(run.offered) == size // 32
    assert run.error == (Error.DDR_RANGE, size // 32 * 32)


@pytest.mark.parametrize(
    ("program", "size"), [(32, 0), (64, 64), (0xFFFFFFE0, 64), (0xFFFFFFE0, 0xFFFFFFFF), (0x80000000, 0x7FFFFFFF)]
)
def test_program_beyond_size(pins: Pins, program: int, size: int) -> None:
    run = fetch(pins, image_of(POOL), program, size=size)
    assert (run.offered, run.error) == ([], (Error.DDR_RANGE, program))


@pytest.mark.parametrize("program", [1, 16, 31, 33, 0xFFFFFFFF])
def test_program_that_is_not_aligned(pins: Pins, program: int) -> None:
    run = fetch(pins, image_of(POOL, POOL, isa.End()), program)
    assert (run.offered, run.error) == ([], (Error.ILLEGAL_INSTRUCTION, program))


def check_words(pins: Pins, words: list[int]) -> int:
    """Each by itself as a program's first instruction: legal or not as the decoder says. Returns how many are legal."""
    bus = pins.ports["data_i"].bits // 8
    beats, checked = 32 // bus, 3 + 32 // bus
    data = np.full((len(words), checked + 2, bus), 0xAA, np.uint8)
    run = np.ones((len(words), checked + 2), int)
    run[:, :2] = 0
    for n, word in enumerate(words):
        data[n, 3 : 3 + beats] = np.frombuffer(word.to_bytes(32, "little"), np.uint8).reshape(beats, bus)
    sent = {
        "run_i": run.reshape(-1),
        "data_i": data.reshape(-1, bus),
        "program_i": 0,
        "size_i": 4096,
        "data_valid_i": 1,
    }
    found = pins.run({**sent, "request_ready_i": 0, "taken_i": 0, "axi_error_i": 0}, STATE)
    rows = {name: column.reshape(len(words), checked + 2) for name, column in found.items()}
    decoded = [legal(word) for word in words]
    for n, instruction in enumerate(decoded):
        refused = [0] * checked + [int(instruction is None), 0]
        assert rows["error_o"][n].tolist() == refused, hex(words[n])
        assert instruction or rows["error_code_o"][n, checked] == Error.ILLEGAL_INSTRUCTION
        assert rows["end_o"][n, -1] == isinstance(instruction, isa.End)
        assert rows["valid_o"][n, -1] == (instruction is not None and not isinstance(instruction, isa.End))
        if rows["valid_o"][n, -1]:
            assert ENGINES[rows["engine_o"][n, -1]] is instruction.ENGINE
    return sum(instruction is not None for instruction in decoded)


def test_every_bit_of_every_instruction(pins: Pins) -> None:
    words = [int.from_bytes(kind.encode(), "little") for kind in KINDS]
    flipped = [word ^ 1 << bit for word in words for bit in range(256)]
    count = check_words(pins, [*words, *flipped])
    assert 8 + 500 < count < 8 + 1500


def test_every_opcode_and_mask(pins: Pins) -> None:
    words = [
        opcode | wait << 4 | signal << 11 for opcode in range(16) for wait in range(128) for signal in (0, 1, 2, 64)
    ]
    words += [opcode | signal << 11 for opcode in range(16) for signal in range(128)]
    words += [isa.LoadWeights.OPCODE | memory << 18 for memory in range(4)]
    assert 100 < check_words(pins, words) < len(words) / 2


def test_random_words(pins: Pins) -> None:
    random = np.random.default_rng(4)
    words = []
    for _ in range(1500):
        kind = list(isa.INSTRUCTIONS.values())[random.integers(8)]
        word = int.from_bytes(random.bytes(32), "little") & kind.USED
        mask = isa.WAITABLE[kind.ENGINE] << 4 | isa.SIGNALABLE[kind.ENGINE] << 11
        words.append(word & ~0x3FFFF & ~15 | word & mask | kind.OPCODE)
        if random.random() < 0.5:
            words[-1] |= 1 << int(random.integers(256))
    assert 300 < check_words(pins, words) < 1400


@pytest.mark.parametrize("position", [0, 1, 5])
def test_illegal_instruction_in_a_program(pins: Pins, position: int) -> None:
    image = bytearray(image_of(*[POOL] * 6, isa.End()).tobytes())
    image[32 * position + 31] = 0x80
    run = fetch(pins, np.frombuffer(image, np.uint8), patience=0.6)
    assert run.error == (Error.ILLEGAL_INSTRUCTION, 32 * position)
    assert len(run.offered) == position


@pytest.mark.parametrize("seed", range(40))
def test_bus_error(pins: Pins, seed: int) -> None:
    """Told of the instruction that has a word of it, when that is taken, whatever its bits are."""
    bus = pins.ports["data_i"].bits // 8
    random = np.random.default_rng(seed)
    fails_at = int(random.integers(0, 20 * 32 // bus)) * bus
    image = image_of(*[POOL] * 20, isa.End()).copy()
    if seed % 2:
        image[fails_at : fails_at + bus] = 0xFF
    run = fetch(pins, image, seed=seed, patience=0.7, fails_at=fails_at)
    assert run.error == (Error.AXI, fails_at // 32 * 32)
    assert len(run.offered) == fails_at // 32


@pytest.mark.parametrize("behind", range(4))
def test_bus_error_behind_the_end(pins: Pins, behind: int) -> None:
    """What is only read ahead does no harm."""
    image = image_of(POOL, isa.End(), *[POOL] * 6)
    run = fetch(pins, image, seed=behind, patience=0.5, fails_at=64 + 32 * behind)
    assert (run.error, run.ended, len(run.offered)) == (None, True, 1)


def test_stopping_in_mid_program(pins: Pins) -> None:
    """Once run_i falls nothing is left: the next program begins anew."""
    image = image_of(*[POOL] * 6, isa.End())
    for cycles in range(25):
        words = np.zeros((cycles + 1, pins.ports["data_i"].bits // 8), np.uint8)
        pins.run({"run_i": 1, "data_valid_i": 1, "data_i": words, "taken_i": cycles % 2}, [])
        assert len(fetch(pins, image, seed=cycles, patience=0.8).offered) == 6


def test_other_buses_are_refused() -> None:
    assert refusal("dpu_fetch", {"BusBytes": 24}).endswith("BusBytes (24) must divide the 32 bytes of an instruction.")
