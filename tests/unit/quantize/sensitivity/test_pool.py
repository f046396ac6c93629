from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from nibble.errors import NibbleError
from nibble.quantize.layers import LayerBits
from nibble.quantize.sensitivity.effects import make_variants, measure_effects
from nibble.quantize.sensitivity.metrics import Cosine
from nibble.quantize.sensitivity.network import Network
from nibble.quantize.sensitivity.pool import Processes, RayCluster, processes, ray_cluster


def test_one_process_for_each_core() -> None:
    assert processes(None).size == len(os.sched_getaffinity(0))
    assert processes(3).size == 3


def test_killed_processes_are_said_in_one_line() -> None:
    pool = Processes(2)
    with pytest.raises(NibbleError, match=r"^a worker process was killed: use fewer with --workers, or more memory$"):
        list(pool.map(signal.raise_signal, [signal.SIGKILL, signal.SIGKILL]))


def test_ray_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(NibbleError, match=r"^--address needs Ray: pip install 'nibble-dpu\[cluster\]'$"),
        ray_cluster("x"),
    ):
        pass


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="opt-in: ray is not installed (extra `cluster`)")
    with ray_cluster("local") as opened:
        yield opened


def test_a_local_ray_cluster_finds_the_same(network: Callable[..., Network], cluster: RayCluster) -> None:
    opened = network()
    variants = make_variants(opened, [LayerBits(4, 8)], opened.calibration)
    alone, spread = (
        measure_effects(opened, variants, opened.calibration, Cosine(), pool) for pool in (Processes(1), cluster)
    )
    assert cluster.size >= 1
    assert spread == alone


def _refuse(task: object) -> None:
    raise NibbleError(f"no {task}")


def test_errors_on_a_ray_cluster_are_one_line(cluster: RayCluster) -> None:
    with pytest.raises(NibbleError, match=r"^no luck$"):
        list(cluster.map(_refuse, ["luck"]))


def test_no_cluster_at_the_address() -> None:
    pytest.importorskip("ray", reason="opt-in: ray is not installed (extra `cluster`)")
    expected = r"^--address nowhere:1: found no Ray cluster \(.*\), expected one$"
    with pytest.raises(NibbleError, match=expected), ray_cluster("nowhere:1"):
        pass
