"""Where activations lie: buffers of channel blocks in DDR, and views of them.

A buffer is what STORE instructions (or the host) write: blocks of H x W pixels, `inputs` channels a pixel. A view gives
every channel of a tensor a place in a list of planes. Concatenation, split, channel shuffle and nearest upsampling are
views: they move no byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, eq=False)
class Buffer:
    """DDR memory of one tensor: `blocks` planes of `rows` x `cols` pixels of `pixel_bytes`, one after the other.

    `interleaved` is one plane of pixels with fewer channels than lanes, which follow one another without filling, as a
    camera gives them: the network's input is in codes of the graph (`flip` when they are unsigned); elsewhere bytes are
    signed. With `shift` an element is 4 bits, even channel in the low ones, and holds the signed code - shift.
    """

    name: str
    blocks: int
    rows: int
    cols: int
    pixel_bytes: int
    interleaved: bool = False
    flip: bool = False
    shift: int | None = None

    @property
    def narrow(self) -> bool:
        """Whether an element is 4 bits."""
        return self.shift is not None

    @property
    def lanes(self) -> int:
        """Elements of a pixel, when they are activations."""
        return self.pixel_bytes * (2 if self.narrow else 1)

    @property
    def plane_bytes(self) -> int:
        """Bytes of one block."""
        return self.rows * self.cols * self.pixel_bytes

    @property
    def bytes(self) -> int:
        """Bytes of all blocks."""
        return self.blocks * self.plane_bytes


@dataclass(frozen=True)
class Plane:
    """Channel block `block` of a buffer, seen at twice its size when `upsample`."""

    buffer: Buffer
    block: int
    upsample: bool = False


Place = tuple[int, int]
"""(index into the view's planes, lane)."""


@dataclass(frozen=True)
class View:
    """A tensor: its planes, and for each of its channels the place that holds it."""

    planes: tuple[Plane, ...]
    places: tuple[Place, ...]
    rows: int
    cols: int

    @property
    def channels(self) -> int:
        """Number of channels of the tensor."""
        return len(self.places)

    @property
    def shift(self) -> int | None:
        """Shift of the buffers, which all have the same."""
        return self.planes[0].buffer.shift

    @property
    def narrow(self) -> bool:
        """Whether an element is 4 bits."""
        return self.planes[0].buffer.narrow

    def buffers(self) -> list[Buffer]:
        """Return the buffers read, each once."""
        return list(dict.fromkeys(plane.buffer for plane in self.planes))


def whole(buffer: Buffer, channels: int, lanes: int) -> View:
    """View `buffer` as a tensor whose channel c lies in block c / lanes, lane c % lanes."""
    planes = tuple(Plane(buffer, block) for block in range(buffer.blocks))
    return View(planes, tuple(divmod(c, lanes) for c in range(channels)), buffer.rows, buffer.cols)


def lanewise(buffer: Buffer, source: View) -> View:
    """View `buffer`, written lane by lane from `source`'s planes, as a tensor with the same places."""
    planes = tuple(Plane(buffer, block) for block in range(len(source.planes)))
    return View(planes, source.places, buffer.rows, buffer.cols)


def concat(views: Sequence[View]) -> View:
    """Put the channels of `views` one after the other."""
    planes: list[Plane] = []
    places: list[Place] = []
    for view in views:
        places += [(len(planes) + plane, lane) for plane, lane in view.places]
        planes += view.planes
    return View(tuple(planes), tuple(places), views[0].rows, views[0].cols)


def select(view: View, indices: Iterable[int]) -> View:
    """Take channels `indices` of `view`, in that order, and only the planes they need."""
    places = [view.places[index] for index in indices]
    kept = list(dict.fromkeys(plane for plane, _ in places))
    position = {plane: index for index, plane in enumerate(kept)}
    planes = tuple(view.planes[plane] for plane in kept)
    return View(planes, tuple((position[plane], lane) for plane, lane in places), view.rows, view.cols)


def upsample(view: View) -> View | None:
    """Double rows and columns; None when a plane is doubled already or read interleaved."""
    if any(plane.upsample or plane.buffer.interleaved for plane in view.planes):
        return None
    planes = tuple(replace(plane, upsample=True) for plane in view.planes)
    return View(planes, view.places, 2 * view.rows, 2 * view.cols)


def same_places(a: View, b: View) -> bool:
    """Tell whether lane-by-lane arithmetic between two views meets equal channels."""
    return len(a.planes) == len(b.planes) and a.places == b.places
