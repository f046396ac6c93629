"""Tasks on all cores of this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Protocol, TypeVar

from nibble.errors import NibbleError

Task = TypeVar("Task")
Result = TypeVar("Result")
Job = Callable[[Task], Result]
LOCAL = "local"
"""The address that starts a Ray cluster of this machine alone."""

_job: Any = None
"""What this worker process does."""


class Pool(Protocol):
    """Where tasks are computed."""

    @property
    def size(self) -> int:
        """How many are computed at a time."""

    def map(self, job: Job[Task, Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield `job`(task) of all `tasks`, in their order. Raises the NibbleError of a task."""


@dataclass(frozen=True)
class Processes:
    """`size` processes of this machine; with 1, this one."""

    size: int

    def map(self, job: Job[Task, Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield `job`(task) of all `tasks`; raises NibbleError also when a process is killed."""
        if self.size == 1 or len(tasks) == 1:
            yield from map(job, tasks)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(self.size, len(tasks)), context, _start, (job,)) as pool:
            try:
                yield from map(_result, pool.map(_work, tasks))
            except BrokenProcessPool as error:
                raise NibbleError("a worker process was killed: use fewer with --workers, or more memory") from error
            finally:
                pool.shutdown(cancel_futures=True)


class RayCluster:
    """A Ray cluster that this process is connected to."""

    def __init__(self, ray: Any, address: str) -> None:
        self._ray, self._address = ray, address
        self.size = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(self, job: Job[Task, Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield `job`(task) of all `tasks`; raises NibbleError also when the cluster fails."""
        shared = self._ray.put(job)
        remote = self._ray.remote(_attempt)
        try:
            for pending in [remote.remote(shared, task) for task in tasks]:
                yield _result(self._ray.get(pending))
        except self._ray.exceptions.RayError as error:
            raise NibbleError(f"--address {self._address}: a task failed on the cluster ({_line(error)})") from error


def processes(count: int | None) -> Processes:
    """Return `count` processes, or one for each core that this process may use."""
    return Processes(count or len(os.sched_getaffinity(0)))


@contextmanager
def ray_cluster(address: str) -> Iterator[RayCluster]:
    """Connect to the Ray cluster at `address`, or start one with `local` and end it after the block.

    Raises NibbleError without ray, and at an address where no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise NibbleError("--address needs Ray: pip install 'nibble-dpu[cluster]'") from error
    own = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ray.exceptions.RayError, ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise NibbleError(f"--address {address}: found no Ray cluster ({_line(error)}), expected one") from error
    try:
        yield RayCluster(ray, address)
    finally:
        ray.shutdown()


def _start(job: Job[Any, Any]) -> None:
    global _job
    _job = job
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the process that started this one, and end too: a pool whose owner is killed would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Any) -> Any:
    return _attempt(_job, task)


def _attempt(job: Job[Task, Result], task: Task) -> Result | NibbleError:
    """Return the error instead of raising it: one that takes several arguments does not survive the way back."""
    try:
        return job(task)
    except NibbleError as error:
        return NibbleError(str(error))


def _result(outcome: Result | NibbleError) -> Result:
    if isinstance(outcome, NibbleError):
        raise outcome
    return outcome


def _line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
