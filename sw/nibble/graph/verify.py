"""What `nibble verify` does: proofs of every node, then comparison with onnxruntime node by node and end to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nibble import onnx_io, ort
from nibble.graph.compare import Comparer, Comparison, compare_outputs
from nibble.graph.feeds import picture_files, picture_reader, random_feeds
from nibble.graph.lower import lower
from nibble.graph.passes import LeaveUnprovenToHost, optimize
from nibble.graph.prove import Proof, Track, prove
from nibble.importers.probe import probe

PICTURES, RANDOM_INPUTS = 20, 2


@dataclass(frozen=True)
class Verification:
    """The outcome: a proof for each node and output, the comparison on `inputs` (in words), end-to-end outputs."""

    proofs: list[Proof]
    comparison: Comparison
    outputs: Comparison
    inputs: str

    @property
    def unproven(self) -> list[Proof]:
        """Proofs that failed."""
        return [proof for proof in self.proofs if not proof.proven]

    @property
    def host(self) -> int:
        """Count the nodes that run on the host."""
        return sum(proof.method == "host" for proof in self.proofs)

    @property
    def nodes(self) -> int:
        """Count the integer nodes and outputs, which need proof."""
        return len(self.proofs) - self.host

    @property
    def proven(self) -> int:
        """Count the integer nodes and outputs that are proven."""
        return self.nodes - len(self.unproven)

    @property
    def elements_compared(self) -> int:
        """Count the elements compared with onnxruntime."""
        return self.comparison.elements.total() + self.outputs.elements.total()

    @property
    def mismatches(self) -> int:
        """Count the elements that differ."""
        return self.comparison.mismatches.total() + self.outputs.mismatches.total()

    @property
    def holds(self) -> bool:
        """Tell whether everything is proven and nothing differs."""
        return not self.unproven and not self.mismatches

    def rows(self) -> Iterator[tuple[Proof, int, int]]:
        """Yield each proof with the elements compared and the mismatches of its node."""
        for proof in self.proofs:
            yield proof, self.comparison.elements[proof.node], self.comparison.mismatches[proof.node]

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable summary."""
        return {
            "nodes": self.nodes,
            "proven": self.proven,
            "unproven": [{"node": proof.node, "reason": proof.reason} for proof in self.unproven],
            "elements_compared": self.elements_compared,
            "mismatches": self.mismatches,
            "host": self.host,
            "inputs": self.inputs,
            "proofs": [
                {**vars(proof), "elements_compared": elements, "mismatches": wrong}
                for proof, elements, wrong in self.rows()
            ],
            "cpu": ort.machine(),
        }


def verify_file(path: Path, images: Path | None, limit: int | None, track: Track = iter) -> Verification:
    """Verify the model at `path` on the first `limit` pictures of `images`, or on seeded random inputs without them.

    Each integer node is compared on onnxruntime's own tensors; the optimized graph's outputs on the first input.
    Raises the errors of `lower`, and InputError for a folder without pictures.
    """
    model = onnx_io.load_model(path)
    probe(model, path)
    graph = lower(model, path)
    if images is None:
        count = limit or RANDOM_INPUTS
        feeds, words = random_feeds(graph.input_tensors(), count), f"{count} random input{'s' * (count > 1)}"
    else:
        files = picture_files(images, limit or PICTURES)
        read, how = picture_reader(graph.input_tensors(), model, path)
        feeds, words = map(read, files), f"{len(files)} picture{'s' * (len(files) > 1)}, {how}"
    proofs = list(prove(graph, path, track))
    reasons = {proof.node: proof.reason for proof in proofs if not proof.proven}
    comparer = Comparer(graph)
    outputs = Comparison()
    for number, feed in enumerate(track(feeds)):
        if number == 0:
            outputs = compare_outputs(optimize(LeaveUnprovenToHost(reasons).apply(graph)), feed)
        comparer.picture(feed)
    return Verification(proofs, comparer.comparison, outputs, words)
