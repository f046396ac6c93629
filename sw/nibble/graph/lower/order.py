"""Execution order."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from nibble.graph.ir import Node


def sort(nodes: list[Node], position: Mapping[str, int]) -> tuple[Node, ...]:
    """Return `nodes` in topological order, as near to the file's order (`position` of each ONNX node) as it allows."""
    producer = {name: index for index, node in enumerate(nodes) for name in node.outputs}
    before = [{producer[name] for name in node.inputs if name in producer} for node in nodes]
    after: list[list[int]] = [[] for _ in nodes]
    for index, sources in enumerate(before):
        for source in sources:
            after[source].append(index)
    key = [max((position[name] for name in node.sources), default=0) for node in nodes]
    ready = [(key[index], index) for index, sources in enumerate(before) if not sources]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, index = heapq.heappop(ready)
        ordered.append(nodes[index])
        for follower in after[index]:
            before[follower].discard(index)
            if not before[follower]:
                heapq.heappush(ready, (key[follower], follower))
    return tuple(ordered)
