"""Peak memory of `nibble quantize` for a folder of pictures and for ten times as many (the same ones, repeated).

python benchmarks/calibration_memory.py M.onnx PICTURES
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from nibble.console import print_table

RECIPES = ("int8", "int8-reference")
REPEATS = (1, 10)


def main() -> None:
    model, pictures = (Path(argument).resolve() for argument in sys.argv[1:])
    rows = []
    for recipe in RECIPES:
        for repeats in REPEATS:
            summary = measure(model, pictures, recipe, repeats)
            rows.append((recipe, *(summary[key] for key in ("calibration_images", "peak_rss_mib", "seconds"))))
    print_table(f"Calibration of {model.name}", ("recipe", "pictures", "peak RSS MiB", "seconds"), rows)


def measure(model: Path, pictures: Path, recipe: str, repeats: int) -> dict[str, float]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        many, target, report = folder / "pictures", folder / "q.onnx", folder / "q.json"
        many.mkdir()
        for path in pictures.iterdir():
            for index in range(repeats):
                (many / f"{index}_{path.name}").symlink_to(path)
        options = ["--calib", many, "--recipe", recipe, "-o", target, "--json", report]
        command = [sys.executable, "-m", "nibble", "quantize", str(model), *map(str, options)]
        subprocess.run(command, check=True, capture_output=True)
        summary: dict[str, float] = json.loads(report.read_text())
        return summary


if __name__ == "__main__":
    main()
