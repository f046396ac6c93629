"""COCO annotation files, read and checked; and a model's class names matched with their categories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from nibble.errors import InputError
from nibble.files import read_bytes

Finite = Annotated[float, Field(allow_inf_nan=False)]
Extent = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class Picture(BaseModel):
    """One entry of `images`."""

    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


class Category(BaseModel):
    """One entry of `categories`."""

    id: int
    name: str


class Annotation(BaseModel):
    """One entry of `annotations`; `bbox` is x, y, width, height in pixels."""

    image_id: int
    category_id: int
    bbox: tuple[Finite, Finite, Extent, Extent]
    area: Extent | None = None
    iscrowd: Annotated[int, Field(ge=0, le=1)] = 0


class Annotations(BaseModel):
    """What evaluation needs of a COCO file."""

    images: list[Picture] = Field(min_length=1)
    categories: list[Category] = Field(min_length=1)
    annotations: list[Annotation]

    @classmethod
    def read(cls, path: Path) -> Annotations:
        """Read a COCO annotation file; raises InputError naming the first thing that is wrong."""
        expected = "COCO annotations (JSON with images, categories, annotations)"
        content = read_bytes(path, expected)
        try:
            return cls.model_validate_json(content)._checked(path)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(path, f"{first['msg']}{f' at {place}' if place else ''}", expected) from error

    def merged(self, name: str) -> Annotations:
        """Return these annotations with all categories made one, called `name`."""
        notes = [note.model_copy(update={"category_id": 1}) for note in self.annotations]
        return self.model_copy(update={"categories": [Category(id=1, name=name)], "annotations": notes})

    def first(self, limit: int) -> Annotations:
        """Return the annotations of the first `limit` pictures."""
        images = self.images[:limit]
        kept = {image.id for image in images}
        notes = [note for note in self.annotations if note.image_id in kept]
        return self.model_copy(update={"images": images, "annotations": notes})

    def _checked(self, path: Path) -> Annotations:
        pictures, categories = {image.id for image in self.images}, {category.id for category in self.categories}
        if len(pictures) != len(self.images) or len(categories) != len(self.categories):
            raise InputError(path, "an id used twice", "different ids for all images and for all categories")
        for index, note in enumerate(self.annotations):
            if note.image_id not in pictures:
                raise InputError(path, f"annotation {index} of image {note.image_id}", "the id of one of its images")
            if note.category_id not in categories:
                raise InputError(
                    path, f"annotation {index} of category {note.category_id}", "the id of one of its categories"
                )
        return self


def match_categories(classes: Sequence[str], categories: Sequence[Category]) -> dict[int, int]:
    """Return the category id of each class index whose name is among `categories`.

    Names are compared without case, spaces, hyphens and underscores; the spellings that darknet kept from Pascal VOC
    (sofa, aeroplane, ...) match COCO's.
    """
    ids = {_canonical(category.name): category.id for category in categories}
    names = {index: _canonical(name) for index, name in enumerate(classes)}
    return {index: ids[name] for index, name in names.items() if name in ids}


_SYNONYMS = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "television": "tv",
    "tvmonitor": "tv",
    "hairdryer": "hairdrier",
}


def _canonical(name: str) -> str:
    plain = "".join(letter for letter in name.casefold() if letter not in " -_")
    return _SYNONYMS.get(plain, plain)
