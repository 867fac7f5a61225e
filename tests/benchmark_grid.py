"""How many plans a second the inner grid evaluates on one core, and how much memory that takes: run it as a script.

    python tests/benchmark_grid.py [most plans, 1e9 without it]

Three objectives, every constraint, the exact front. A fixed batch needs the laws of kernels, memory and cost; a number
of users those of continuous batching too.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import resource
import sys
import time
from math import isqrt

import numpy as np

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.search.grid import Aim, search_grid, search_grids
from dse.search.pareto import nondominated
from dse.search.space import Space, make_space

AIM = Aim(("usd_per_mtok", "tpot_s", "ttft_s"))
TRIALS = 16
FRONT = 1_000_000


def space_of(load: str) -> Space:
    """tp x pp x dp x ep of a mixture of experts on up to 64 devices, x load x formats."""
    return make_space(load_model("qwen3-235b-a22b"), load_system("h200_sxm"), gpus=64, load=load,
                      loads=2.0 ** np.arange(2, 14), input_tokens=2048, output_tokens=256,
                      weights=("bf16", "fp8", "fp8_block", "int4"), kv=("bf16", "fp8"))


def grid(load: str, plans: float) -> None:
    """One line: the whole open grid of about so many plans, ratios of offloading along two axes of their own."""
    space = space_of(load)
    along = max(isqrt(round(plans / space.size)), 2)
    ratios = {"kv_offload": np.linspace(0, 0.9, along), "weight_offload": np.linspace(0, 0.9, along)}
    wall, start = time.perf_counter(), time.process_time()
    found = search_grid(space, AIM, ratios)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{load:<12} {found.considered:>13,} plans {seconds:8.2f} s of one core ({time.perf_counter() - wall:.2f} s "
          f"by the clock) {found.considered / seconds / 1e6:6.2f} M plans/s, {found.feasible / found.considered:.0%} "
          f"feasible, front {len(found.front)}, process so far {peak:.0f} MB", flush=True)


def outer(load: str) -> None:
    """One line: splits, loads and formats alone, at several points of the free variables at once."""
    space, random = space_of(load), np.random.default_rng(0)
    trials = [{v.name: float(random.uniform(v.low, v.high)) for v in space.sampled} for _ in range(TRIALS)]
    search_grids(space, AIM, trials[:2])
    start = time.process_time()
    count = sum(f.considered for f in search_grids(space, AIM, trials))
    seconds = time.process_time() - start
    print(f"{load:<12} {count:>13,} plans, {TRIALS} trials of {space.size:,} at once: {seconds:.2f} s, "
          f"{count / seconds / 1e6:.2f} M plans/s", flush=True)


def front() -> None:
    """Two lines: the front of a million feasible points, of which few are on it, and nearly all."""
    random = np.random.default_rng(1)
    for points in (random.lognormal(size=(FRONT, 3)), random.dirichlet((1, 1, 1), FRONT) + 0.1):
        start = time.process_time()
        kept = nondominated(points, (-1, -1, -1))
        print(f"front of {FRONT:,} points, three objectives: {time.process_time() - start:.2f} s, {len(kept):,} on it")


def main(most: float = 1e9) -> None:
    """Print every figure."""
    grid("batch", 1e5)                                             # the first call loads what the others share
    for plans in (1e5, 1e6, 1e7, 1e8, 1e9):
        if plans <= most:
            grid("batch", plans)
    for plans in (1e6, 1e7):
        grid("concurrency", plans)
    outer("batch")
    outer("concurrency")
    front()


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
