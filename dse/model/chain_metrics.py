"""The chain of each metric: from what users see to the phases' spans, by the traffic's kind of load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from dse.equations.speculation import speculative_steps
from dse.errors import InputError
from dse.model.chain import Term, derived, given, span_term
from dse.model.document import plain
from dse.model.evaluate import Evaluation
from dse.model.merits import Metrics
from dse.model.metrics import METRICS
from dse.model.money import hourly_parts
from dse.model.phases import decode_step, requests_of, tokens_each
from dse.model.serving import Served, request_overhead
from dse.plan import expressions

QUEUEING = "by the laws of continuous batching"
LEAST = 1e-9
"""Share of a metric below which a remainder is rounding."""
NUDGE = 1e-6
Maker = Callable[[Evaluation], Term]


def chain(e: Evaluation, name: str) -> Term:
    """The metric of one plan (no arrays) as a chain of terms; an input for one that no formula of terms makes."""
    value = e.metrics[name]
    if value is None or not np.isfinite(float(value)):
        raise InputError(name, "has no finite value for this plan and traffic", METRICS[name].definition)
    return _MAKERS[name](e) if name in _MAKERS else given(name, value, METRICS[name].unit, METRICS[name].definition)


def chain_document(term: Term) -> dict[str, Any]:
    """A term and its parts as plain values."""
    document: dict[str, Any] = {"name": term.name, "value": plain(term.value), "unit": term.unit}
    said = {"formula": term.formula, "binding": term.binding, "note": term.note}
    document |= {key: text for key, text in said.items() if text}
    return {**document, "parts": [chain_document(part) for part in term.parts]} if term.parts else document


def influence(term: Term, part: Term) -> float:
    """Per cent by which a term shrinks for each of a part that is 1 % less: 0 for a branch that does not bind."""
    if len(term.formula) >= expressions.LONGEST - 1:      # a sum of very many
        return abs(part.value / term.value)
    values = {p.name: p.value for p in term.parts}
    less = expressions.value(f"={term.formula}", {**values, part.name: part.value * (1 - NUDGE)}, term.name)
    return abs(1 - float(less) / term.value) / NUDGE if term.value else 0.0


def binding_branches(term: Term, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Term]]:
    """Every maximum below a term, soft ones too, with the names on the way to it."""
    here = (*path, term.name)
    if term.binding:
        yield here, term
    for part in term.parts:
        yield from binding_branches(part, here)


def _served(e: Evaluation) -> Served:
    assert isinstance(e.metrics, Metrics)
    return e.metrics.served


def _made(e: Evaluation, name: str, formula: str, *parts: Term) -> Term:
    """The metric of that name, by a formula in its parts."""
    return derived(name, e.metrics[name], METRICS[name].unit, formula, parts)


def _prefill(e: Evaluation) -> Term:
    return span_term(e.deployment.prefills, e.spans["prefill"], "prefill_s")


def _decode(e: Evaluation) -> Term:
    return span_term(e.deployment, e.spans["decode"], "decode_step_s")


def _rest(name: str, whole: Any, *parts: Term) -> tuple[Term, ...]:
    """The parts, and what the laws of queueing add to them."""
    rest = float(whole) - sum(p.value for p in parts)
    return (*parts, given(name, rest, "s", QUEUEING)) if abs(rest) > LEAST * abs(float(whole)) else parts


def _summed(parts: tuple[Term, ...]) -> str:
    return " + ".join(part.name for part in parts)


def _ttft(e: Evaluation) -> Term:
    if e.traffic.batch is not None:
        return _made(e, "ttft_s", "prefill_s", _prefill(e))
    late = given("host_work", request_overhead(e.deployment, e.traffic), "s", "before the prompt, fitted to the engine")
    parts = _rest("waiting", e.metrics["ttft_s"], _prefill(e), late)
    return _made(e, "ttft_s", _summed(parts), *parts)


def _tpot(e: Evaluation) -> Term:
    """Decode steps, and the prompts of others that stop them."""
    after = float(e.traffic.output_tokens) - 1
    iterations = float(speculative_steps(e.traffic.output_tokens, tokens_each(e.deployment)))
    steps = given("steps_per_token", iterations / after, "", "decode iterations over tokens after the first")
    if e.traffic.batch is not None:
        others = float(e.traffic.batch / e.deployment.plan.batching.prompts) - 1
        each = given("prompts_per_token", others / after, "", f"{others:g} other prompts over {after:g} tokens")
        return _made(e, "tpot_s", "decode_step_s * steps_per_token + prefill_s * prompts_per_token",
                     _decode(e), steps, _prefill(e), each)
    batch = float(np.maximum(_served(e).batch, 1.0))
    running = decode_step(e.deployment, requests_of(e.deployment, e.traffic), batch)
    step = span_term(e.deployment, running, "step_at_running_batch")
    rest = given("prompts_of_others", float(e.metrics["tpot_s"] or 0.0) - step.value * steps.value, "s",
                 f"{QUEUEING}; the step is of {batch:.4g} sequences")
    return _made(e, "tpot_s", "step_at_running_batch * steps_per_token + prompts_of_others", step, steps, rest)


def _e2e(e: Evaluation) -> Term:
    if float(e.traffic.output_tokens) == 1:
        return _made(e, "e2e_s", "ttft_s", _ttft(e))
    after = given("tokens_after_first", e.traffic.output_tokens - 1)
    return _made(e, "e2e_s", "ttft_s + tpot_s * tokens_after_first", _ttft(e), _tpot(e), after)


def _requests(e: Evaluation) -> Term:
    kind, load = e.traffic.load
    if kind == "rate":
        return given("requests_s", e.metrics["requests_s"], "1/s", "as asked, at most the saturation rate")
    if kind == "concurrency":
        return _made(e, "requests_s", "concurrency / e2e_s", given("concurrency", load), _e2e(e))
    return _made(e, "requests_s", "replicas * batch / e2e_s", given("replicas", e.deployment.dp), given("batch", load),
                 _e2e(e))


def _output(e: Evaluation) -> Term:
    return _made(e, "output_tok_s", "requests_s * output_tokens", _requests(e),
                 given("output_tokens", e.traffic.output_tokens))


def _per_gpu(e: Evaluation) -> Term:
    return _made(e, "output_tok_s_per_gpu", "output_tok_s / gpus", _output(e), given("gpus", e.deployment.gpus))


def _hourly(e: Evaluation) -> Term:
    system = e.deployment.system
    causes = tuple(given(cause, usd, "USD/h") for cause, usd in (hourly_parts(system) or {}).items())
    busy = derived("busy_device_hour", sum(c.value for c in causes), "USD/h", _summed(causes), causes)
    owned = system.usd_per_gpu_hour is None and system.cost_basis == "owned"
    used = given("hours_used", system.economics.utilisation if owned else 1.0, "", "share that is sold or busy")
    return _made(e, "usd_per_hour", "busy_device_hour / hours_used * gpus", busy, used,
                 given("gpus", e.deployment.gpus))


def _mtok(e: Evaluation) -> Term:
    return _made(e, "usd_per_mtok", "usd_per_hour / 3600 * 1000000 / output_tok_s", _hourly(e), _output(e))


def _per_usd(e: Evaluation) -> Term:
    return _made(e, "tokens_per_usd", "1000000 / usd_per_mtok", _mtok(e))


_MAKERS: Mapping[str, Maker] = {
    "prefill_s": _prefill, "decode_step_s": _decode, "ttft_s": _ttft, "tpot_s": _tpot, "e2e_s": _e2e,
    "requests_s": _requests, "output_tok_s": _output, "output_tok_s_per_gpu": _per_gpu, "usd_per_hour": _hourly,
    "usd_per_mtok": _mtok, "tokens_per_usd": _per_usd,
}
"""Metrics that a formula of terms makes."""
