"""Event-driven reference of an iteration-level scheduler: what the closed forms of serving are checked against.

One engine alternates iterations; `IterationCost` says how long each takes. Three policies:

    mixed          every running sequence gains a token in every iteration; what the token budget leaves goes to
                   waiting prompts, first come first served, the last one cut where the budget ends
    prompt_first   waiting prompts, whole, run in iterations of their own, and decodes wait meanwhile
    disaggregated  a pool of engines that only prefill (one common queue), a transfer of the prompt's cache, and a
                   pool of engines that only decode (the least loaded takes the request)

A request holds one of the engine's places from the start of its prefill to its last token. Its first token leaves at
the end of the iteration that completes its prompt, or, disaggregated, once its cache has arrived. Nothing is preempted.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count as numbering
from itertools import islice

import numpy as np

from dse.model.batching import IterationCost, Requests

Array = np.ndarray


@dataclass(slots=True)
class Request:
    """One request and what became of it; times in s, lengths in tokens. `done`: prompt tokens already in the cache."""

    arrival: float
    prompt: int
    output: int
    done: int = 0
    first: float = math.nan
    last: float = math.nan


@dataclass(slots=True)
class Engine:
    """One engine at its own clock. `mixed`: whether decodes share iterations with prompts.

    Decoding sequences are a heap of (iteration that yields the last token, number, request), so that an iteration
    costs the simulator the same however many there are.
    """

    prompts: IterationCost
    decode: IterationCost
    mixed: bool
    budget: float
    places: float
    clock: float = 0.0
    waiting: deque[Request] = field(default_factory=deque)
    begun: deque[Request] = field(default_factory=deque)
    running: list[tuple[int, int, Request]] = field(default_factory=list)
    cached: int = 0
    iterations: int = 0
    joined: int = 0

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.begun or self.running)

    @property
    def load(self) -> int:
        """Requests here, waiting or running."""
        return len(self.waiting) + len(self.begun) + len(self.running)

    def step(self, until: float = math.inf) -> list[Request]:
        """One iteration, or all those alike that begin before `until`; returns the requests that finished."""
        chunks = self._choose_prompts()
        tokens = sum(count for _, count in chunks)
        pairs = sum(count * (request.done + count / 2) for request, count in chunks)
        for request, count in chunks:
            request.done += count
        if tokens and not self.mixed:
            self.clock += self.prompts(0, 0, tokens, pairs)
            return self._start(chunks)
        steps = 1 if tokens else self._steps_alike(until)
        return self._decode(steps, tokens, pairs) + self._start(chunks)

    def admit_ready(self) -> None:
        """Let requests whose cache is here already take free places."""
        while self.waiting and len(self.running) < self.places:
            self._join(self.waiting.popleft())

    def _choose_prompts(self) -> list[tuple[Request, int]]:
        room = self.budget - (len(self.running) if self.mixed else 0)
        chunks: list[tuple[Request, int]] = []
        while room > 0 and (self.begun or self._has_place(len(chunks))):
            request = self.begun[0] if self.begun else self.waiting[0]
            left = request.prompt - request.done
            if not self.mixed and chunks and left > room:
                break
            count = int(min(left, room)) if self.mixed else left
            (self.begun or self.waiting).popleft()
            if count < left:
                self.begun.appendleft(request)
            chunks.append((request, count))
            room -= count
            if count < left:
                break
        return chunks

    def _has_place(self, begun: int) -> bool:
        return bool(self.waiting) and len(self.running) + begun < self.places

    def _steps_alike(self, until: float) -> int:
        """Iterations until a sequence ends or, if one could start at once, until the next arrival."""
        steps = self.running[0][0] - self.iterations
        if math.isinf(until) or len(self.running) >= self.places:
            return steps
        step, growth = self._step_time(1), float(self.decode.per_kv) * len(self.running)
        half = step - growth / 2                          # k steps take k half + k^2 growth / 2
        fit = 2 * (until - self.clock) / (half + math.sqrt(half * half + 2 * growth * max(until - self.clock, 0.0)))
        return max(1, min(steps, math.ceil(fit)))

    def _step_time(self, steps: int, tokens: int = 0, pairs: float = 0.0) -> float:
        n = len(self.running)
        return float(self.decode(n, self.cached + n * (steps - 1) / 2, tokens, pairs))

    def _decode(self, steps: int, tokens: int = 0, pairs: float = 0.0) -> list[Request]:
        self.clock += steps * self._step_time(steps, tokens, pairs)
        self.iterations += steps
        self.cached += steps * len(self.running)
        finished = []
        while self.running and self.running[0][0] <= self.iterations:
            _, _, request = heapq.heappop(self.running)
            request.last = self.clock
            self.cached -= request.prompt + request.output
            finished.append(request)
        return finished

    def _start(self, chunks: list[tuple[Request, int]]) -> list[Request]:
        """Requests whose prompt is complete have their first token; one that wants no more is finished."""
        finished = []
        for request, _ in chunks:
            if request.done < request.prompt:
                continue
            request.first = request.last = self.clock
            if request.output > 1:
                self._join(request)
            else:
                finished.append(request)
        return finished

    def _join(self, request: Request) -> None:
        self.joined += 1
        self.cached += request.prompt + 1
        heapq.heappush(self.running, (self.iterations + request.output - 1, self.joined, request))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Per request, in order of arrival: seconds to the first token, per later token, and to the last token."""

    ttft: Array
    tpot: Array
    e2e: Array


def outcome(requests: Sequence[Request], warmup: float = 0.0, tail: float = 0.0) -> Outcome:
    """Latencies of the requests, without a share of the first and of the last ones."""
    size = len(requests)
    kept = requests[int(warmup * size) : int((1 - tail) * size)]
    arrival, first, last, output = np.array([(r.arrival, r.first, r.last, r.output) for r in kept]).T
    return Outcome(first - arrival, (last - first) / np.maximum(output - 1, 1), last - arrival)


def draw_uniform(size: int, prompt: int, output: int, shortest: float, seed: int) -> list[Request]:
    """Requests with lengths uniform in [shortest x L, L], as the public benchmarks draw them."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(max(1, int(prompt * shortest)), prompt + 1, size)
    outputs = rng.integers(max(2, int(output * shortest)), output + 1, size)
    return [Request(0.0, int(p), int(o)) for p, o in zip(prompts, outputs, strict=True)]


def closed_loop(engine: Engine, requests: list[Request], users: int) -> float:
    """Users who start together, each with a next request when answered, until none is left; returns the end."""
    engine.waiting.extend(requests[:users])
    following = iter(requests[users:])
    while engine.busy:
        for finished in engine.step():
            for request in islice(following, 1):
                request.arrival = finished.last
                engine.waiting.append(request)
    return engine.clock


def draw(requests: Requests, rate: float, arrival_cv2: float, size: int, seed: int) -> list[Request]:
    """Requests of gamma-distributed gaps and log-normal lengths with the given moments."""
    rng = np.random.default_rng(seed)
    gaps = rng.gamma(1 / arrival_cv2, arrival_cv2 / rate, size)
    prompts, outputs = (_lengths(rng, mean, cv2, size, low) for mean, cv2, low in (
        (requests.prompt, requests.prompt_cv2, 1), (requests.output, requests.output_cv2, 2)))
    return [Request(float(a), int(p), int(o), done=int(p * requests.prefix_hit))
            for a, p, o in zip(np.cumsum(gaps), prompts, outputs, strict=True)]


def _lengths(rng: np.random.Generator, mean: float, cv2: float, size: int, low: int) -> Array:
    if cv2 == 0:
        return np.full(size, round(mean))
    spread = math.log1p(cv2)
    return np.maximum(low, np.round(rng.lognormal(math.log(mean) - spread / 2, math.sqrt(spread), size)))


def open_loop(engine: Engine, coming: Sequence[Request]) -> float:
    """Requests that come when they come; returns when the last one is answered."""
    i = 0
    while i < len(coming) or engine.busy:
        if not engine.busy:
            engine.clock = max(engine.clock, coming[i].arrival)
        while i < len(coming) and coming[i].arrival <= engine.clock:
            engine.waiting.append(coming[i])
            i += 1
        engine.step(coming[i].arrival if i < len(coming) else math.inf)
    return engine.clock


def disaggregated(prompts: IterationCost, decode: IterationCost, coming: Sequence[Request], pools: tuple[int, int],
                  budget: float, places: float, transfer: float, following: Iterable[Request] = ()) -> float:
    """A pool of prefill engines with one queue, then a pool of decode engines; returns when the last one is done.

    `transfer`: s per prompt token from one pool to the other. `following`: requests that a closed loop sends next,
    one for each that finishes. Writes the requests' times in place.
    """
    engines = [Engine(prompts, decode, True, 0, places) for _ in range(pools[1])]
    events = [(r.arrival, i, "arrived", [r]) for i, r in enumerate(coming)]
    numbers, later, idle = numbering(len(events)), iter(following), pools[0]
    queue: deque[Request] = deque()
    while events or any(e.busy for e in engines):
        now = events[0][0] if events else math.inf
        behind = min((e for e in engines if e.busy), key=lambda e: e.clock, default=None)
        if behind is not None and behind.clock < now:
            behind.admit_ready()
            others = [e.clock for e in engines if e.busy and e is not behind] if following else []
            for finished in behind.step(min([now, *others])):
                for request in islice(later, 1):
                    request.arrival = finished.last
                    heapq.heappush(events, (finished.last, next(numbers), "arrived", [request]))
            continue
        _, _, what, batch = heapq.heappop(events)
        if what == "arrived":
            queue.extend(batch)
        elif what == "prefilled":
            idle += 1
            for request in batch:
                request.first = request.last = now + transfer * request.prompt
                heapq.heappush(events, (request.first, next(numbers), "moved", [request]))
        elif batch[0].output > 1:
            engine = min(engines, key=lambda e: e.load)
            engine.clock = engine.clock if engine.busy else max(engine.clock, now)
            engine.waiting.extend(batch)
        while idle and queue and not (events and events[0][0] <= now):
            idle -= 1
            batch, seconds = _prefill_batch(prompts, queue, budget)
            heapq.heappush(events, (now + seconds, next(numbers), "prefilled", batch))
    return max(e.clock for e in engines)


def _prefill_batch(cost: IterationCost, queue: deque[Request], budget: float) -> tuple[list[Request], float]:
    """Whole prompts from the head of the queue, at most `budget` tokens or one prompt, and how long they take."""
    batch: list[Request] = []
    tokens, pairs = 0, 0.0
    while queue:
        request = queue[0]
        left = request.prompt - request.done
        if batch and tokens + left > budget:
            break
        batch.append(queue.popleft())
        tokens, pairs = tokens + left, pairs + left * (request.done + left / 2)
    return batch, cost(0, 0, tokens, pairs)
