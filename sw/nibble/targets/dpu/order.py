"""Execution order: as few changes between DPU and host as dependencies allow."""

from __future__ import annotations

from collections.abc import Sequence

from nibble.targets.dpu.ops import AnyOp, HostOp, outputs


def batch_hosts(ops: Sequence[AnyOp]) -> list[AnyOp]:
    """Return `ops` with every DPU operation that is ready before the next host operation, and the other way round."""
    produced = {name for op in ops for name in outputs(op)}
    done: set[str] = set()
    waiting, ordered = list(ops), list[AnyOp]()
    host = True
    while waiting:
        taken = _ready(waiting, host, produced, done)
        ordered += taken
        chosen = {id(op) for op in taken}
        waiting = [op for op in waiting if id(op) not in chosen]
        host = not host
    return ordered


def _ready(waiting: Sequence[AnyOp], host: bool, produced: set[str], done: set[str]) -> list[AnyOp]:
    """Take, in order, all operations of one kind whose inputs are done; `done` grows as they are taken."""
    taken = []
    for op in waiting:
        if isinstance(op, HostOp) == host and all(name in done or name not in produced for name in op.inputs):
            taken.append(op)
            done.update(outputs(op))
    return taken
