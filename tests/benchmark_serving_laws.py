"""Errors of the serving laws against the simulator, on settings that no constant was chosen on.

    python tests/benchmark_serving_laws.py [--closed 90] [--open 150] [--saturation 60] [--seconds 8] [--processes 2]

A setting whose simulation is still noisier than 3 % after its seconds is counted and left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from serving_settings import Row, Setting, closed_setting, measure, open_setting, predict, saturated_rate

from dse.model.batching import POLICIES
from dse.model.saturation import saturation

FRESH = 50_000
"""First seed: the tests, and the choice between forms of the laws, used smaller ones."""
NOISE = 0.03
WIDTH = 13
LIMITS: dict[str, dict[str, float]] = {
    "closed": {"ttft mean": 5, "tpot mean": 4},
    "open": {"ttft mean": 10, "tpot mean": 4, "ttft p90": 18, "ttft p99": 25, "tpot p90": 18, "tpot p99": 25,
             "e2e p90": 18, "e2e p99": 25},
    "saturation": {"rate": 4},
}
Error = tuple[Setting, Row, float]


def compare(make: Callable[[int], Setting], seconds: float, seed: int) -> Error:
    """Relative errors of one setting's predictions, and the standard error of its simulation."""
    s = make(seed)
    measured, predicted = measure(s, seconds=seconds), predict(s)
    errors = {name: predicted[name] / measured.values[name] - 1 for name in predicted if name != "within"}
    if "within" in predicted:
        errors["within"] = predicted["within"] - measured.values["within"]
    return s, errors, max(measured.errors["ttft mean"], measured.errors["tpot mean"])


def compare_saturation(seed: int) -> Error:
    """Relative error of the saturation rate."""
    s = open_setting(seed)
    return s, {"rate": float(saturation(s.phases, s.requests, s.batching)) / saturated_rate(s) - 1}, 0.0


def table(title: str, errors: list[Error], limits: dict[str, float]) -> None:
    """Median, ninetieth percentile and bias of each metric, by policy, load and burstiness."""
    kept = [e for e in errors if e[2] < NOISE]
    print(f"\n{title}: {len(kept)} settings, {len(errors) - len(kept)} more left out as noisier than {NOISE:.0%}")
    groups = [("all", kept), *((p, [e for e in kept if e[0].batching.policy == p]) for p in POLICIES)]
    if kept[0][0].rate and title != "saturation":
        groups += [("Poisson", [e for e in kept if e[0].arrival_cv2 == 1]),
                   ("bursty", [e for e in kept if e[0].arrival_cv2 > 1])]
        groups += [(f"load {low}-{high}", [e for e in kept if low <= e[0].load < high])
                   for low, high in ((0.2, 0.5), (0.5, 0.8), (0.8, 0.95))]
    print("median/90 % (bias) in %".ljust(26) + "".join(name.rjust(WIDTH) for name in kept[0][1]))
    for name, group in groups:
        print(f"{name} ({len(group)})".ljust(26) + "".join(_cell(e[1][m] for e in group) for m in kept[0][1]))
    print("limit".ljust(26) + "".join(_limit(limits.get(m)).rjust(WIDTH) for m in kept[0][1]))


def _limit(value: float | None) -> str:
    return "" if value is None else f"{value:g}/{3 * value:g}"


def _cell(values: Iterable[float]) -> str:
    e = 100 * np.array(list(values))
    if not e.size:
        return "-".rjust(WIDTH)
    return f"{np.median(abs(e)):.1f}/{np.quantile(abs(e), 0.9):.0f} ({np.median(e):+.0f})".rjust(WIDTH)


def main() -> None:
    """Run all settings and print the tables."""
    parser = argparse.ArgumentParser(description="Errors of the serving laws against the simulator.")
    for name, default in (("closed", 90), ("open", 150), ("saturation", 60), ("processes", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=8.0)
    a = parser.parse_args()
    jobs = (("closed", partial(compare, closed_setting, a.seconds), a.closed),
            ("open", partial(compare, open_setting, a.seconds), a.open),
            ("saturation", compare_saturation, a.saturation))
    with ProcessPoolExecutor(a.processes, get_context("spawn")) as pool:
        for title, job, count in jobs:
            if count:
                table(title, list(pool.map(job, range(FRESH, FRESH + count))), LIMITS[title])


if __name__ == "__main__":
    main()
