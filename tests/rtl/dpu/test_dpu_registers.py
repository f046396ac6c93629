"""The registers against a model, cycle by cycle: reads and writes cross each other, run control does as it likes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bench import Pins

from nibble.targets.dpu.isa import VERSION, Register

HASH = 0xC0FFEE42
BUS = ("awready", "wready", "bvalid", "bresp", "arready", "rvalid", "rdata", "rresp")
CONTROL = ("start_o", "soft_reset_o", "interrupt_o", "expected_hash_o", "size_o", "program_o")
WRITABLE = (
    *(Register.EXPECTED_HASH, Register.BASE_LOW, Register.BASE_HIGH, Register.SIZE, Register.PROGRAM),
    *(Register.CONTROL, Register.INTERRUPT),
)
COUNTERS = ("cycles", "cycles_mac", "cycles_wait_features", "cycles_wait_weights", "cycles_wait_store", "instructions")


class Bus:
    """An AXI4-Lite master: accesses of random length, VALID kept until READY."""

    def __init__(self, pins: Pins, seed: int) -> None:
        self.pins, self.random = pins, np.random.default_rng(seed)
        self.aw: tuple[int, ...] | None = None
        self.ar: int | None = None
        self.shown = {"aw": False, "w": False, "ar": False}
        self.written = self.read = False

    def cycle(self, **inputs: int) -> dict[str, Any]:
        """Run a cycle with what is under way on the bus; return all pins."""
        for channel, waiting in (("aw", self.aw), ("w", self.aw), ("ar", self.ar)):
            self.shown[channel] |= waiting is not None and bool(self.random.integers(2))
        address, data, strobe = self.aw or (0, 0, 0)
        sent = {
            **{f"s_axi_{channel}valid": int(shown) for channel, shown in self.shown.items()},
            "s_axi_awaddr": address,
            "s_axi_wdata": data,
            "s_axi_wstrb": strobe,
            "s_axi_araddr": self.ar or 0,
            "s_axi_bready": int(self.random.integers(2)),
            "s_axi_rready": int(self.random.integers(2)),
            **inputs,
        }
        names = [*(f"s_axi_{name}" for name in BUS), *CONTROL, "base_o"]
        pins = {name: row[0] for name, row in self.pins.run(sent, names, 1).items()}
        return {**sent, **pins}

    def step(self, **inputs: int) -> dict[str, Any]:
        """As `cycle`; then end what was taken. Checks the rules of the bus."""
        pins = self.cycle(**inputs)
        assert pins["s_axi_bresp"] == pins["s_axi_rresp"] == 0
        for channel in self.shown:
            if pins[f"s_axi_{channel}valid"] and pins[f"s_axi_{channel}ready"]:
                self.shown[channel] = False
        wrote = pins["s_axi_awvalid"] and pins["s_axi_awready"]
        assert wrote == (pins["s_axi_wvalid"] and pins["s_axi_wready"])
        assert pins["s_axi_bvalid"] == self.written
        assert pins["s_axi_rvalid"] == self.read
        self.written = bool(wrote) or (self.written and not pins["s_axi_bready"])
        asked = pins["s_axi_arvalid"] and pins["s_axi_arready"]
        self.read = bool(asked) or (self.read and not pins["s_axi_rready"])
        pins["wrote"], pins["asked"] = bool(wrote), bool(asked)
        self.aw = None if wrote else self.aw
        self.ar = None if asked else self.ar
        return pins

    def write(self, register: int, value: int, strobe: int = 15, **inputs: int) -> None:
        self.aw = (register, value, strobe)
        while not self.step(**inputs)["wrote"]:
            pass

    def get(self, register: int, **inputs: int) -> int:
        self.ar = register
        while not self.step(**inputs)["asked"]:
            pass
        while not (pins := self.step(**inputs))["s_axi_rready"]:
            pass
        return int(pins["s_axi_rdata"])


class Model:
    """What the registers hold, and how a cycle changes them."""

    def __init__(self) -> None:
        self.plain = dict.fromkeys(WRITABLE[:5], 0)
        self.done = self.error = self.enable = self.pending = self.start = self.soft_reset = False
        self.counters = dict.fromkeys(COUNTERS, 0)

    def value(self, address: int, pins: dict[str, Any]) -> int:
        """What a read that is taken in this cycle gives."""
        ended = (pins["done_i"] and not self.soft_reset, pins["failed_i"] and not self.soft_reset)
        busy = bool(pins["busy_i"]) or self.start or self.soft_reset
        special = {
            Register.IDENTITY: int.from_bytes(b"NIBL", "little"),
            Register.VERSION: VERSION,
            Register.PARAMETER_HASH: HASH,
            Register.CONTROL: self.enable << 2,
            Register.STATUS: busy | bool(self.done or ended[0]) << 1 | bool(self.error or ended[1]) << 2,
            Register.ERROR: pins["error_code_i"],
            Register.ERROR_ADDRESS: pins["error_address_i"],
            Register.INTERRUPT: int(self.pending),
            **self.plain,
            Register.BASE_LOW: self.plain[Register.BASE_LOW] & ~0xFFF,
            **{Register[name.upper()]: count for name, count in self.counters.items()},
        }
        return int(special.get(address & ~3, 0))

    def step(self, pins: dict[str, Any]) -> None:
        self._count(pins)
        done, failed = (bool(pins[name]) and not self.soft_reset for name in ("done_i", "failed_i"))
        was_busy = bool(pins["busy_i"]) or self.start
        self.start = self.soft_reset = False
        self.done |= done
        self.error |= failed
        self.pending |= done or failed
        if not pins["wrote"]:
            return
        register, data, strobe = pins["s_axi_awaddr"] & ~3, pins["s_axi_wdata"], pins["s_axi_wstrb"]
        if register in self.plain:
            if was_busy:
                return
            mask = sum(0xFF << 8 * n for n in range(4) if strobe >> n & 1)
            self.plain[register] = self.plain[register] & ~mask | data & mask
        elif register == Register.INTERRUPT and strobe & data & 1:
            self.pending = done or failed
        elif register == Register.CONTROL and strobe & 1:
            self.enable, self.soft_reset = bool(data & 4), bool(data & 2)
            if self.soft_reset:
                self.done = self.error = self.pending = False
            elif data & 1 and not was_busy:
                self.start, self.done, self.error = True, False, False

    def _count(self, pins: dict[str, Any]) -> None:
        stall = pins["stall_i"]
        more = [1, pins["mac_active_i"], stall & 1, stall >> 1 & 1, stall >> 2]
        for name, count in zip(
            COUNTERS, [*(n if pins["busy_i"] else 0 for n in more), pins["completed_i"]], strict=True
        ):
            self.counters[name] = 0 if self.start else min(self.counters[name] + count, 0xFFFFFFFF)


@pytest.fixture
def pins() -> Pins:
    found = Pins("dpu_registers", {"ParameterHash": HASH})
    found.reset()
    return found


@pytest.mark.parametrize("seed", range(3))
def test_random_accesses(pins: Pins, seed: int) -> None:
    random = np.random.default_rng(seed)
    bus, model, busy = Bus(pins, seed), Model(), 0
    expected = 0
    starts = ends = 0
    for _ in range(2500):
        if bus.aw is None and random.random() < 0.4:
            register = int(random.choice(WRITABLE)) if random.random() < 0.9 else int(random.integers(256))
            data = int(random.integers(8) if random.random() < 0.6 else random.integers(1 << 32))
            bus.aw = (register, data, int(random.choice([15, 1, random.integers(16)])))
        if bus.ar is None and random.random() < 0.4:
            bus.ar = int(random.choice(list(Register))) if random.random() < 0.9 else int(random.integers(256))
        ended = int(bool(busy) and random.random() < 0.2)
        failed = int(ended and random.random() < 0.5)
        busy = 0 if ended else int(busy or model.start)
        found = bus.step(
            busy_i=busy,
            done_i=ended - failed,
            failed_i=failed,
            error_code_i=int(random.integers(12)),
            error_address_i=int(random.integers(1 << 32)),
            mac_active_i=int(random.integers(2)),
            stall_i=int(random.integers(8)),
            completed_i=int(random.integers(6)),
        )
        if found["s_axi_rvalid"]:
            assert found["s_axi_rdata"] == expected
        if found["asked"]:
            expected = model.value(found["s_axi_araddr"], found)
        assert (found["start_o"], found["soft_reset_o"]) == (model.start, model.soft_reset)
        assert found["interrupt_o"] == (model.pending and model.enable)
        assert [found[f"{n}_o"] for n in ("expected_hash", "size", "program")] == [
            model.plain[r] for r in (Register.EXPECTED_HASH, Register.SIZE, Register.PROGRAM)
        ]
        low, high = model.plain[Register.BASE_LOW] & ~0xFFF, model.plain[Register.BASE_HIGH]
        assert int.from_bytes(found["base_o"].tobytes(), "little") == high << 32 | low
        starts, ends = starts + model.start, ends + ended
        model.step(found)
    assert min(starts, ends) > 9


@pytest.mark.parametrize("register", WRITABLE[:5])
def test_what_a_run_is_told_stays_while_busy(pins: Pins, register: Register) -> None:
    bus = Bus(pins, register)
    bus.write(register, 0x12345000)
    bus.write(register, 0xABCDE000, busy_i=1)
    assert bus.get(register) == 0x12345000
    bus.write(register, 0xABCDE000, busy_i=0)
    assert bus.get(register) == 0xABCDE000


def test_interrupt_is_cleared_by_one_alone(pins: Pins) -> None:
    bus = Bus(pins, 1)
    bus.write(Register.CONTROL, 4)
    bus.step(done_i=1)
    assert bus.step(done_i=0)["interrupt_o"] == 1
    bus.write(Register.INTERRUPT, 0)
    bus.write(Register.INTERRUPT, 0xFFFFFFFE)
    bus.write(Register.INTERRUPT, 1, strobe=14)
    assert bus.get(Register.INTERRUPT) == 1
    bus.write(Register.INTERRUPT, 1)
    assert bus.get(Register.INTERRUPT) == 0
    assert bus.get(Register.STATUS) == 2


def test_interrupt_of_the_cycle_in_which_it_is_cleared_stays(pins: Pins) -> None:
    bus = Bus(pins, 2)
    bus.write(Register.INTERRUPT, 1, failed_i=1)
    bus.step(failed_i=0)
    assert bus.get(Register.INTERRUPT) == 1
    assert bus.get(Register.STATUS) == 4


def test_counters_saturate() -> None:
    """Registers that were never reset hold noise: among many seeds, one comes near the end."""
    names = [Register[name.upper()] for name in COUNTERS]
    for seed in range(1, 3000):
        pins = Pins("dpu_registers", {"ParameterHash": HASH}, seed=seed)
        held = _counters(pins)
        near = next((n for n, value in enumerate(held) if value > (1 << 32) - 4_000_000), None)
        if near is not None:
            break
    else:
        pytest.fail(f"no counter is near its end, the last ones hold {held}")
    active = {"busy_i": 1, "mac_active_i": 1, "stall_i": 7, "completed_i": 3}
    pins.run(active, [], 4_100_000)
    assert _counters(pins)[near] == 0xFFFFFFFF, names[near]


def _counters(pins: Pins) -> list[int]:
    """Read all counters without a reset, which would clear them: an end and a beginning drive what is under way out."""
    still = {"rst_ni": 1, "s_axi_bready": 1, "s_axi_rready": 1, "busy_i": 0, "completed_i": 0}
    pins.run(still, [], 3)
    found = []
    for name in COUNTERS:
        pins.run({"s_axi_arvalid": 1, "s_axi_araddr": Register[name.upper()]}, [], 1)
        found.append(int(pins.run({"s_axi_arvalid": 0}, ["s_axi_rdata"], 1)["s_axi_rdata"][0]))
    return found
