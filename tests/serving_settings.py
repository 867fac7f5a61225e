"""Random settings of serving, each simulated and predicted: for the tests of the serving laws and their benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import simulator
from simulator import Engine, Outcome

from dse.model.batching import POLICIES, Batching, IterationCost, Phases, Requests, phases
from dse.model.closed_loop import closed_loop
from dse.model.open_loop import SCORES, OpenLoop, open_loop
from dse.model.saturation import saturation

Row = dict[str, float]
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda x: float(x.mean()), "p50": lambda x: float(np.quantile(x, 0.5)),
    "p90": lambda x: float(np.quantile(x, 0.9)), "p99": lambda x: float(np.quantile(x, 0.99)),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """An engine (prompts, decode: cost of its iterations), what it is asked, and how. A rate means an open loop."""

    prompts: IterationCost
    decode: IterationCost
    batching: Batching
    requests: Requests
    seed: int
    rate: float = 0.0
    arrival_cv2: float = 1.0
    users: int = 0
    waves: int = 0
    shortest: float = 1.0

    @property
    def phases(self) -> Phases:
        """Phase times of its requests."""
        return phases(self.prompts, self.decode, self.requests)

    @property
    def load(self) -> float:
        """Rate over the law's saturation rate."""
        return self.rate / float(saturation(self.phases, self.requests, self.batching))


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over repeated simulations, their relative standard errors, and how often it was run."""

    values: Row
    errors: Row
    runs: int


def _costs(rng: np.random.Generator, policy: str) -> tuple[IterationCost, IterationCost]:
    """From an 8B model on a fast chip to a large one on a slow chip; prompts alone skip some of the fixed part."""
    token = 10 ** rng.uniform(-5.3, -4.3)
    decode = IterationCost(
        fixed=10 ** rng.uniform(-2.9, -1.6), per_sequence=rng.uniform(0, 2e-5), per_kv=10 ** rng.uniform(-9.0, -7.8),
        per_token=token, per_pair=token / 10 ** rng.uniform(4.2, 5.2))
    return decode if policy == "mixed" else replace(decode, fixed=decode.fixed * rng.uniform(0.4, 1)), decode


def closed_setting(seed: int) -> Setting:
    """A closed loop as benchmarks run it; a fifth of the settings has fewer places than users."""
    rng = np.random.default_rng([1, seed])
    policy = POLICIES[seed % 3]
    prompts, decode = _costs(rng, policy)
    users, shortest = int(2 ** rng.uniform(1, 8.2)), float(rng.choice([0.5, 0.8, 1.0]))
    mean, cv2 = (1 + shortest) / 2, ((1 - shortest) / (1 + shortest)) ** 2 / 3
    requests = Requests(int(2 ** rng.uniform(8, 13)) * mean, int(2 ** rng.uniform(6, 11)) * mean, cv2, cv2)
    pools = [int(n) for n in rng.choice([1, 2, 4], 2)] if policy == "disaggregated" else [1, 1]
    places = users if rng.random() < 0.8 else max(4, int(users * rng.uniform(0.3, 0.95)))
    budget = float(rng.choice([2048, 8192, 16384]))
    batching = Batching(policy, budget, float(max(2, -(-places // pools[1]))), pools[0], pools[1])
    return Setting(prompts, decode, batching, requests, seed, users=users, waves=int(rng.choice([3, 5, 10])),
                   shortest=shortest)


def open_setting(seed: int, low: float = 0.2, high: float = 0.95) -> Setting:
    """An open loop at a load between `low` and `high`, Poisson or bursty, lengths constant or spread, cached or not."""
    rng = np.random.default_rng([2, seed])
    policy = POLICIES[seed % 3]
    prompts, decode = _costs(rng, policy)
    prompt_cv2, output_cv2 = (float(c) for c in rng.choice([0, 0.3, 1.0], 2))
    requests = Requests(float(int(2 ** rng.uniform(8, 12.5))), float(int(2 ** rng.uniform(5.5, 10))), prompt_cv2,
                        output_cv2, float(rng.choice([0, 0, 0.5])))
    pools = [int(n) for n in rng.choice([1, 2, 4], 2)] if policy == "disaggregated" else [1, 1]
    budget = float(rng.choice([2048, 8192] if policy == "mixed" else [8192, 16384]))
    transfer = requests.prompt * rng.uniform(0, 3e-6) if policy == "disaggregated" else 0.0
    batching = Batching(policy, budget, float(int(2 ** rng.uniform(5, 8.5))), pools[0], pools[1], transfer)
    still = Setting(prompts, decode, batching, requests, seed, arrival_cv2=float(rng.choice([1, 1, 2, 4, 8])))
    return replace(still, rate=rng.uniform(low, high) * float(saturation(still.phases, requests, batching)))


def run(s: Setting, seed: int, size: int = 5000) -> tuple[Outcome, float]:
    """One simulation, and the time its last request ends."""
    b = s.batching
    if s.rate:
        coming = simulator.draw(s.requests, s.rate, s.arrival_cv2, size, seed)
    else:
        largest = 2 / (1 + s.shortest)
        coming = simulator.draw_uniform(s.users * s.waves, round(s.requests.prompt * largest),
                                        round(s.requests.output * largest), s.shortest, seed)
    if b.policy == "disaggregated":
        each = b.transfer / s.requests.prompt
        first, later = (coming, []) if s.rate else (coming[: s.users], coming[s.users :])
        end = simulator.disaggregated(s.prompts, s.decode, first, (b.prefill, b.decode), b.budget, b.places, each,
                                      later)
    else:
        engine = Engine(s.prompts, s.decode, b.policy == "mixed", b.budget, b.places)
        end = simulator.open_loop(engine, coming) if s.rate else simulator.closed_loop(engine, coming, s.users)
    return simulator.outcome(coming, 0.1 * bool(s.rate), 0.03 * bool(s.rate)), end


def measure(s: Setting, enough: float = 0.025, seconds: float = 8.0, least: int = 4) -> Measured:
    """Repeat until the standard error of both means is below `enough`, or for so many seconds of computing."""
    rows: list[Row] = []
    start = time.process_time()
    limits = limits_of(s) if s.rate else None
    while True:
        outcome, _ = run(s, 1000 * s.seed + len(rows))
        rows.append(_statistics(outcome, limits))
        if len(rows) < least:
            continue
        table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        errors = {n: float(v.std(ddof=1) / np.sqrt(len(v)) / max(abs(v.mean()), 1e-12)) for n, v in table.items()}
        done = max(errors["ttft mean"], errors["tpot mean"]) < enough
        if done or time.process_time() - start > seconds:
            return Measured({n: float(v.mean()) for n, v in table.items()}, errors, len(rows))


def _statistics(o: Outcome, limits: tuple[float, float] | None) -> Row:
    values = {f"{name} {statistic}": f(getattr(o, name)) for name in ("ttft", "tpot", "e2e")
              for statistic, f in STATISTICS.items()}
    if limits is not None:
        values["within"] = float(((o.ttft <= limits[0]) & (o.tpot <= limits[1])).mean())
    return values


def limits_of(s: Setting) -> tuple[float, float]:
    """Targets for time to first token and per token that a good part of the requests meets, as predicted."""
    law = _law(s)
    return 1.5 * float(law.ttft.mean), 1.15 * float(law.tpot.mean)


def _law(s: Setting) -> OpenLoop:
    return open_loop(s.phases, s.requests, s.batching, s.rate, s.arrival_cv2)


def predict(s: Setting) -> Row:
    """What the laws say."""
    if not s.rate:
        law = closed_loop(s.phases, s.requests, s.batching, float(s.users), float(s.waves))
        return {"ttft mean": float(law.ttft), "tpot mean": float(law.tpot), "e2e mean": float(law.e2e)}
    answer = _law(s)
    row = {}
    for name in ("ttft", "tpot", "e2e"):
        spread = getattr(answer, name)
        row[f"{name} mean"] = float(spread.mean)
        row |= {f"{name} {quantile}": float(spread.quantile(score)) for quantile, score in SCORES.items()}
    return row | {"within": float(answer.goodput(1.0, *limits_of(s)))}


def saturated_rate(s: Setting) -> float:
    """Requests per second in the middle of a run in which everything is asked at once."""
    b = s.batching
    size = int(max(3000, 25 * b.places * b.decode))
    everything = replace(s, rate=1e9, arrival_cv2=1.0)
    outcome, _ = run(everything, s.seed, size)
    ends = np.sort(outcome.e2e)                            # all arrive at once
    low, high = int(0.2 * len(ends)), int(0.75 * len(ends))
    return (high - low) / float(ends[high] - ends[low])
