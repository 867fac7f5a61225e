"""How long the searches of the catalogue take on one core, and the exploration of L2 sizes among them: run it as a
script.

    python tests/benchmark_exploration.py
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import time

from dse.cli.search_asked import make_search, read_asked
from dse.search.study import Settings, explore
from dse.studies.searches import search_names

REPEATS = 3


def main() -> None:
    """Print seconds and plans of each search, without writing or drawing anything."""
    for name in search_names():
        asked = read_asked(name, {}, None, (), ())
        settings = Settings(int(asked["trials"]), int(asked["seed"]))
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            (space,), aim = make_search(asked)
            outcome = explore(space, aim, settings)
            times.append(time.perf_counter() - start)
        axes = " x ".join([f"{len(space.splits)} splits", f"{len(space.loads)} {space.load}",
                           f"{len(space.variants)} variants", *(f"{len(v.values)} {v.name}" for v in space.listed),
                           *([f"{outcome.trials} trials of {', '.join(v.name for v in space.sampled)}"]
                             if space.sampled else [])])
        print(f"{name}: {min(times):.3f} s for {outcome.considered:,} plans ({axes}), {outcome.regret.text}")


if __name__ == "__main__":
    main()
