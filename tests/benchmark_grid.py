"""How many plans a second the inner grid evaluates on one core, and how much memory that takes: run it as a script.

    python tests/benchmark_grid.py
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import resource
import time
import tracemalloc
from collections.abc import Callable
from math import prod

import numpy as np

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.search.grid import MEMORY, Aim, evaluate_grid, search_grid
from dse.search.space import Space, make_space

AIM = Aim(("usd_per_mtok", "tpot_s"))
RATIOS = {"kv_offload": np.linspace(0, 0.9, 8), "weight_offload": np.linspace(0, 0.9, 4)}
REPEATS = 5


def space_of_a_million() -> Space:
    """tp x pp x dp x ep of a mixture of experts on up to 64 devices, x concurrency x formats x offload ratios."""
    return make_space(load_model("qwen3-235b-a22b"), load_system("h200_sxm"), gpus=64, load="concurrency",
                      loads=2.0 ** np.arange(2, 14), input_tokens=2048, output_tokens=256,
                      weights=("bf16", "fp8", "fp8_block", "int4"), kv=("bf16", "fp8"))


def points(space: Space) -> int:
    """Plans of the whole open grid."""
    return space.size * prod(len(v) for v in RATIOS.values())


def fastest(work: Callable[[], object]) -> float:
    """Least seconds of one core (processor time) of a few runs, after one to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print plans a second with and without the search for the front, and the peak of the arrays."""
    space = space_of_a_million()
    count = points(space)
    print(f"{count:,} plans: {len(space.splits)} splits x {len(space.loads)} loads x {len(space.weights)} x "
          f"{len(space.kv)} formats x {' x '.join(str(len(v)) for v in RATIOS.values())} offload ratios")
    for words, work in (("evaluate", lambda: [b.shape for b in evaluate_grid(space, RATIOS)]),
                        ("evaluate, sift and front", lambda: search_grid(space, AIM, RATIOS))):
        seconds = fastest(work)
        print(f"{words}: {seconds:.3f} s, {count / seconds / 1e6:.2f} million plans/s, "
              f"{seconds / count * 1e6:.3f} s for 10^6")
    tracemalloc.start()
    search_grid(space, AIM, RATIOS)
    print(f"peak of arrays: {tracemalloc.get_traced_memory()[1] / 2**20:.0f} MiB (allowed {MEMORY / 2**20:.0f} MiB), "
          f"of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    main()
