"""How long whole searches take, Optuna's own time apart, and how far from the best they end: run it as a script.

    python tests/benchmark_search.py [time|regret]

Time: the command `dse search`, start and report included. Regret: four searches of the catalogue with three seeds each;
of the first objective against a refined outer grid (`dse.search.regret`), and the share of the hypervolume that the
front of a dense outer grid has (more than 100 %: the sampler found what lies between the grid's values).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np

from dse.cli.search_asked import make_search, read_asked
from dse.search.grid import Aim, search_grid
from dse.search.pareto import Scale, scale_of
from dse.search.space import Space
from dse.search.study import Settings, explore

ON = ("qwen3-235b-a22b", "--hardware", "h200_sxm", "--input-tokens", "2048", "--output-tokens", "256",
      "--tpot-ms", "50")
BATCHES = ",".join(str(n << k) for k in range(10) for n in (2, 3))
TIMED = {
    "10^7 plans": (10.0, ("--gpus", "64", "--weights", "bf16,fp8,int4", "--kv", "bf16,fp8")),
    "2 x 10^9 plans": (60.0, ("--gpus", "64", "--weights", "bf16,fp8,fp8_block,int4", "--kv", "bf16,fp8", "--batch",
                              BATCHES, "--knob", "kv_offload=0..0.9:14", "--knob", "weight_offload=0..0.9:14",
                              "--free", "link", "--objective", "usd_per_mtok", "--objective", "tpot_s",
                              "--objective", "ttft_s")),
}
"""Searches, and the seconds that each may take on two cores."""
RIVALS = (("aiconfigurator 0.12", 14.0, "90 points"), ("GenZ 0.0.16", 9.8, "8 points"),
          ("Calculon", 51.0, "8,112 executions"))
"""The tools' own searches, run on a machine of two cores as well."""
SEARCHES = {"plan x offload": "cache_and_weights_away", "plan x L2": "l2_size", "plan x L2 x HBM x link": "decode_chip",
            "plan x technique x L2": "prefetch_l2"}
SEEDS = (0, 1, 2)
MOST_REGRET, LEAST_SHARE = 0.005, 0.99
DENSE = 2_000_000
"""Most plans of the outer grid whose front the hypervolume is compared with."""


def timed(name: str, most: float, options: tuple[str, ...]) -> None:
    """One `dse search`, as a user runs it."""
    workers = ("--workers", str(min(os.cpu_count() or 1, 2)))
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "dse.cli.main", "search", *ON, *options, *workers, "--json"],
                          stdout=subprocess.PIPE, check=True)
    wall = time.perf_counter() - start
    result = json.loads(done.stdout)
    count, trials = result["counts"]["considered"], result["search"]["trials"]
    parts = ", ".join(f"{value:.2f} s {part}" for part, value in result["seconds"].items())
    print(f"{name}: {wall:.1f} s (target {most:g} s) for {count:,} plans in {trials} trials: {parts}; "
          f"{count / wall / 1e6:.2f} million plans/s", flush=True)


def dense_front(space: Space, aim: Aim) -> np.ndarray:
    """Objectives of the front of the densest outer grid that is affordable."""
    steps = next(n for n in (1025, 513, 257, 129, 65, 33, 17, 9, 5)
                 if space.count({v.name: v.steps(n) for v in space.sampled}) <= DENSE or n == 5)
    found = search_grid(space, aim, {v.name: v.steps(steps) for v in space.sampled}).front
    return found.columns(aim.objectives)


def share(scale: Scale, found: np.ndarray, dense: np.ndarray) -> float:
    """Hypervolume of what was found, of that of the dense grid."""
    return scale.hypervolume(found) / scale.hypervolume(dense)


def regrets(words: str, name: str) -> None:
    """A search with each seed: one objective, then all of its own."""
    asked = read_asked(name, {}, None, (), ())
    (space,), aim = make_search(asked)
    one, trials = Aim(aim.objectives[:1], aim.limits), int(asked["trials"])
    dense = dense_front(space, aim)
    scale = scale_of(dense, aim.better)
    for seed in SEEDS:
        single = explore(space, one, Settings(trials, seed))
        several = explore(space, aim, Settings(trials, seed))
        covered = share(scale, several.front.columns(aim.objectives), dense)
        value = single.regret.value
        met = value is not None and value <= MOST_REGRET and covered >= LEAST_SHARE
        print(f"{words:24} {seed:4} {trials:6} {'-' if value is None else f'{100 * value:.3f} %':>9} "
              f"{100 * covered:8.2f} % {single.seconds['optuna']:7.2f} s {'' if met else '  missed'}", flush=True)


def main() -> None:
    """Print both, or the one that is named."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    if wanted in ("", "time"):
        for name, (most, options) in TIMED.items():
            timed(name, most, options)
        for tool, seconds, what in RIVALS:
            print(f"beside: {tool}: {seconds:g} s for {what}")
    if wanted in ("", "regret"):
        print(f"{'search':24} seed trials    regret hypervolume   optuna   (targets {100 * MOST_REGRET:g} %, "
              f"{100 * LEAST_SHARE:g} %)")
        for words, name in SEARCHES.items():
            regrets(words, name)


if __name__ == "__main__":
    main()
