"""Reading YAML files: whatever the bytes, the user gets a mapping or one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from nibble.errors import InputError
from nibble.files import read_bytes

MOST_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """Refuses aliases, a few lines of which unfold to gigabytes as soon as a value is printed, and keys given twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"the key {twice!r} twice")
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, expected: str, content: str) -> dict[Any, Any]:
    """Return the mapping that a YAML file holds; raises InputError: `expected` a file, or its `content` a mapping."""
    text = read_bytes(path, expected, MOST_BYTES)
    try:
        value = yaml.load(text, _Loader)
    except Exception as error:  # PyYAML lets a dozen unrelated exceptions through
        raise InputError(path, f"no YAML ({' '.join(str(error).split())})", expected) from error
    if not isinstance(value, dict):
        raise InputError(path, "nothing" if value is None else f"a {type(value).__name__}", content)
    return value
