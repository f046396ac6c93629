"""On-chip memories as rings: contents are placed one after the other, the oldest make room for the newest.

The planner works on the program's steps in order and says for every new content where it lies and which step must have
been finished before it may be overwritten; the scheduler turns that into tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass
class Content:
    """Something resident: `size` units at `address`, last used by step `last_use`."""

    key: Hashable
    address: int
    size: int
    last_use: int


class Ring:
    """A memory of `capacity` units; a content is contiguous."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._resident: deque[Content] = deque()
        self._by_key: dict[Hashable, Content] = {}
        self._head = 0

    def find(self, key: Hashable, step: int) -> int | None:
        """Return the address of `key` when resident, and note that `step` uses it."""
        content = self._by_key.get(key)
        if content is None:
            return None
        content.last_use = max(content.last_use, step)
        return content.address

    def place(self, key: Hashable, size: int, step: int) -> tuple[int, int]:
        """Make room for a new content used by `step`; return its address and the last user of what it
        overwrites.

        That is -1 when nothing is overwritten. Raises ValueError when it can never fit.
        """
        if size > self.capacity:
            raise ValueError(f"{size} units do not fit in a memory of {self.capacity}")
        released = -1
        while (address := self._gap(size)) is None:
            released = max(released, self._evict())
        self._head = address + size
        content = Content(key, address, size, step)
        self._resident.append(content)
        self._by_key[key] = content
        return address, released

    def _evict(self) -> int:
        oldest = self._resident.popleft()
        if self._by_key.get(oldest.key) is oldest:
            del self._by_key[oldest.key]
        return oldest.last_use

    def _gap(self, size: int) -> int | None:
        if not self._resident:
            return 0
        tail = self._resident[0].address
        wrapped = self._resident[-1].address < tail
        if wrapped:
            return self._head if self._head + size <= tail else None
        if self._head + size <= self.capacity:
            return self._head
        return 0 if size <= tail else None
