"""How much faster two workers are than one where the grid dominates: run it as a script on an idle machine.

    python tests/benchmark_workers.py
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import time
from functools import partial

from dse.cli.search_asked import make_search, read_asked
from dse.search.study import Settings, explore

TRIALS = 100
REPEATS = 1
ASKED = {"hardware": "h100_sxm", "gpus": "64", "input_tokens": "2048", "output_tokens": "256", "free": "l2,link",
         "concurrency": ",".join(str(n) for n in range(1, 401)), "weights": "bf16,fp8", "kv": "bf16,fp8"}


def main() -> None:
    """Print the seconds of one worker and of two, without the regret, and their ratio."""
    asked = read_asked("llama-3.1-70b", ASKED, None, (), ())
    spaces, aim = make_search(asked)
    seconds = {}
    for workers in (1, 2):
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            outcome = explore(spaces, aim, Settings(trials=TRIALS, workers=workers),
                              factory=partial(make_search, asked))
            times.append(time.perf_counter() - start - outcome.seconds["regret"])
        seconds[workers] = min(times)
        print(f"{workers} worker{'s' if workers > 1 else ''}: {min(times):.2f} s for {outcome.considered:,} plans in "
              f"{outcome.trials} trials of {spaces[0].size:,}, best "
              f"{outcome.front.column('usd_per_mtok')[0]:.5g} $/Mtok")
    print(f"two workers are {seconds[1] / seconds[2]:.2f} times as fast as one")


if __name__ == "__main__":
    main()
