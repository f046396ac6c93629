"""Tasks on all cores of this machine, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from nibble.errors import NibbleError

Task = TypeVar("Task")
Result = TypeVar("Result")
Job = Callable[[Task], Result]
LOCAL = "local"
"""The address that starts a Ray cluster of this machine alone."""

_job: Any = None
"""What this worker process does."""


def cores() -> int:
    """Return how many processes this one may use."""
    return len(os.sched_getaffinity(0))


def spread(job: Job[Task, Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Yield `job`(task) of all `tasks`, in their order, computed in so many processes (1: in this one).

    Raises the NibbleError of a task, or one that says that a process was killed.
    """
    if workers == 1 or len(tasks) == 1:
        yield from map(job, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _start, (job,)) as pool:
        try:
            yield from map(_result, pool.map(_work, tasks))
        except BrokenProcessPool as error:
            raise NibbleError("a worker process was killed: use fewer with --workers, or more memory") from error
        finally:
            pool.shutdown(cancel_futures=True)


def spread_on_ray(job: Job[Task, Result], tasks: Sequence[Task], address: str) -> Iterator[Result]:
    """Yield the same, computed on the Ray cluster at `address`; `local` starts one and ends it.

    Raises NibbleError without ray, at an address where no cluster answers, and as `spread` does.
    """
    ray = _ray()
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise NibbleError(f"--address {address}: found no Ray cluster ({reason}), expected one, or {LOCAL}") from error
    try:
        shared = ray.put(job)
        remote = ray.remote(max_retries=1)(_attempt)
        for pending in [remote.remote(shared, task) for task in tasks]:
            yield _result(ray.get(pending))
    except ray.exceptions.RayError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise NibbleError(f"--address {address}: a task failed on the cluster ({reason})") from error
    finally:
        ray.shutdown()


def nodes_cores(address: str | None) -> int:
    """Return the processes to plan for: this machine's, or the cluster's as far as it is known before it starts."""
    return cores()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise NibbleError("--address needs Ray: pip install 'nibble-dpu[cluster]'") from error
    return ray


def _start(job: Job[Any, Any]) -> None:
    global _job
    _job = job


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
