"""The lowering rules by operator. Adding an operator is writing one rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from nibble.graph.ir import Node, Tensor
from nibble.graph.lower.context import Context


@dataclass(frozen=True)
class Lowered:
    """Integer nodes that compute what an ONNX node writes, and the tensors they add to those of the file."""

    nodes: tuple[Node, ...]
    added: tuple[Tensor, ...] = ()


Rule = Callable[[Context, onnx.NodeProto], Lowered]
RULES: dict[str, Rule] = {}


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register a rule: called on each node of these types, it returns integer nodes or raises LeaveToHostError."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register
