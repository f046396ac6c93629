"""Speed of cppsim's convolution kernels on typical instructions: python benchmarks/cppsim_conv.py"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np

from nibble.config import load_dpu
from nibble.simulate.cppsim import Cppsim, Kernel
from nibble.targets.dpu.isa import Conv, End, LoadWeights, Memory


@dataclass(frozen=True)
class Case:
    name: str
    conv: Conv


def conv(kernel: int, stride: int, blocks: int, rows: int, cols: int) -> Conv:
    in_cols = (cols - 1) * stride + kernel
    plane = in_cols * ((rows - 1) * stride + kernel)
    return Conv(
        first=1,
        last=1,
        blocks=blocks,
        in_cols=in_cols,
        plane=plane,
        kernel_h=kernel,
        kernel_w=kernel,
        stride_h=stride,
        stride_w=stride,
        out_rows=rows,
        out_cols=cols,
        dilation_h=1,
        dilation_w=1,
        low=-128,
        high=127,
        table=1,
    )


CASES = [
    Case("3x3, 14 blocks, 13 x 13", conv(3, 1, 14, 13, 13)),
    Case("3x3, 8 blocks, 13 x 26", conv(3, 1, 8, 13, 26)),
    Case("3x3, 4 blocks, 9 x 104", conv(3, 1, 4, 9, 104)),
    Case("3x3, 2 blocks, 9 x 104", conv(3, 1, 2, 9, 104)),
    Case("3x3 / 2, 2 blocks, 4 x 104", conv(3, 2, 2, 4, 104)),
    Case("1x1, 32 blocks, 13 x 13", conv(1, 1, 32, 13, 13)),
    Case("1x1, 4 blocks, 9 x 104", conv(1, 1, 4, 9, 104)),
]


def speed(simulator: Cppsim, instruction: Conv, outputs: int, repeat: int) -> float:
    """Return GMAC/s of processor time; what a run costs without the instruction is taken off."""
    times = []
    entries = np.zeros((outputs, 2), np.float32)
    entries[:, 1] = 1e-3
    load = LoadWeights(memory=Memory.PARAMETERS, source=0, bytes=entries.nbytes).encode()
    for count in (0, repeat):
        program = load + instruction.encode() * count + End().encode()
        memory = np.frombuffer(bytearray(entries.tobytes() + program), np.uint8)
        best = 1e9
        for _ in range(5):
            start = time.process_time()
            result = simulator.run(memory, entries.nbytes)
            best = min(best, time.process_time() - start)
            assert result.error == "none", result
        times.append(best)
    return result.macs / (times[1] - times[0]) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dpu", default="z7020")
    arguments = parser.parse_args()
    dpu = load_dpu(arguments.dpu)
    kernels: dict[Kernel, int] = {"fast": 200, "reference": 1}
    simulators = {kernel: Cppsim(dpu, kernel) for kernel in kernels}
    print(f"GMAC/s on one thread, {dpu.name:27}" + "".join(f"{kernel:>11}" for kernel in kernels))
    for case in CASES:
        figures = [speed(simulators[kernel], case.conv, dpu.outputs, repeat) for kernel, repeat in kernels.items()]
        print(f"{case.name:50}" + "".join(f"{figure:11.2f}" for figure in figures))


if __name__ == "__main__":
    main()
