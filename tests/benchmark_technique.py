"""How many plans a second an open grid over seven knobs of a technique evaluates on one core: run it as a script.

    python tests/benchmark_technique.py

Prefetching into the last cache while ranks sum: cache size, batch, two windows, context, bits of the KV cache and the
price of an overlap are an array dimension each.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import time
from typing import Any

import numpy as np

from dse.catalogue.models import load_model
from dse.catalogue.settings import with_figures
from dse.catalogue.systems import load_system
from dse.model.evaluate import Evaluation, evaluate
from dse.plan.merge import merge
from dse.plan.plan import plan_from_document
from dse.plan.traffic import Traffic

REPEATS = 3
AXES = 7
FIRST = ["qkv.*.hbm", "attention.*.hbm", "out.*.hbm"]


def along(axis: int, values: Any) -> np.ndarray:
    """Values along a dimension of their own."""
    return np.asarray(values, dtype=float).reshape([-1 if i == axis else 1 for i in range(AXES)])


def grid(points: int) -> Evaluation:
    """Every metric of points^7 plans."""
    share = np.linspace(0.1, 1.0, points)
    system = with_figures(load_system("ascend_910b", 4, "roofline"), {
        "kernels.gemm.memory_efficiency": 0.7, "kernels.collectives.graph_base": "45 us", "engine.layer": "36 us",
        "chip.cache_bytes": along(0, np.geomspace(2**23, 2**28, points))}, "benchmark")
    technique = {
        "formats": {"kv": {"bits": along(5, np.linspace(2, 16, points))}},
        "overlap": [{"hide": FIRST, "behind": "mlp.sum.peer", "buffer": "l2", "window": along(2, share)},
                    {"hide": "mlp.*.hbm", "behind": "out.sum.peer", "buffer": "l2", "window": along(3, share),
                     "cost": along(6, np.linspace(0, 1e-6, points))}]}
    plan = plan_from_document(merge({"parallelism": {"tp": 4}, "formats": {"weights": "int8"}},
                                    ("prefetch", technique)), "")
    traffic = Traffic(1024, 256, batch=along(1, 2.0 ** np.arange(points)),
                      context=along(4, np.linspace(1024, 16384, points)))
    return evaluate(load_model("llama-3.1-8b"), system, plan, traffic, open_grid=True)


def main() -> None:
    """Print the rate of grids of several sizes, all metrics of every plan included."""
    for points in (6, 8, 10):
        grid(points)
        seconds = []
        for _ in range(REPEATS):
            start = time.process_time()
            e = grid(points)
            seconds.append(time.process_time() - start)
        count = np.broadcast(*(np.asarray(v) for v in e.metrics.values() if v is not None)).size
        print(f"{count:>12,} plans: {min(seconds):.3f} s, {count / min(seconds) / 1e6:.1f} million plans/s")


if __name__ == "__main__":
    main()
