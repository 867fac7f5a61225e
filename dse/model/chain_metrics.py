"""Each metric as a tree of terms: from what a user sees down to the spans of the phases and the price of an hour.

What the laws of batching add beyond phases is one term, `prompts_between` or `waiting`: it is all that a request meets
because others are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from dse.equations.speculation import speculative_steps
from dse.errors import InputError, nearest
from dse.model.chain import Term, added, derived, given, span_term
from dse.model.evaluate import Evaluation
from dse.model.memory import total
from dse.model.metrics import METRICS
from dse.model.money import hourly_parts
from dse.model.phases import tokens_each
from dse.model.serving import request_overhead

Law = Callable[[Evaluation], Term]
SECONDS_PER_HOUR = 3600.0


def chain(e: Evaluation, metric: str) -> Term:
    """The tree of a metric of a single plan; raises InputError for one that has none or no value."""
    if metric not in CHAINS:
        if metric in METRICS:
            raise InputError(metric, "is no sum of terms: it is counted, or follows from a distribution over requests, "
                             "expected a metric with a chain", "known: " + ", ".join(CHAINS))
        raise InputError("metric", f"no such metric: {metric!r}", nearest(metric, METRICS))
    value = e.metrics[metric]
    if value is None or not np.isfinite(value):
        raise InputError(metric, "has no finite value for this plan, expected one that a formula can explain",
                         "dse evaluate says why")
    return CHAINS[metric](e)


def metric_named(name: str) -> str | None:
    """The metric that a word stands for, `tpot` for `tpot_s`; None for none."""
    return next((m for m in (name, f"{name}_s") if m in METRICS), None)


def _value(e: Evaluation, metric: str) -> float:
    return float(e.metrics[metric])     # type: ignore[arg-type]


def _metric(e: Evaluation, metric: str, formula: str, *parts: Term, note: str = "") -> Term:
    return derived(metric, _value(e, metric), METRICS[metric].unit, formula, parts, note)


def _lengths(e: Evaluation) -> Term:
    return given("output_tokens", e.traffic.output_tokens)


def _steps(e: Evaluation) -> Term:
    """Decode iterations of a request: fewer than its tokens where drafts are accepted."""
    steps = speculative_steps(e.traffic.output_tokens, tokens_each(e.deployment))
    return given("steps", steps, "", "decode iterations of a request")


def _prefill(e: Evaluation) -> Term:
    return span_term(e.deployment.prefills, e.spans["prefill"], "prefill_s")


def _decode(e: Evaluation) -> Term:
    return span_term(e.deployment, e.spans["decode"], "decode_step_s")


def _ttft(e: Evaluation) -> Term:
    if e.traffic.batch is not None:
        own = _prefill(e)
        return _metric(e, "ttft_s", "prefill_s", own, note="one lone prefill: a batch that always decodes has no line")
    host = given("host", request_overhead(e.deployment, e.traffic), "s", "work of the engine's host before the prompt")
    own = _prefill(e)
    waiting = given("waiting", _value(e, "ttft_s") - host.value - own.value, "s",
                    "for the iteration under way, for prompts and decodes beside one's own, for a place: laws of "
                    "batching; below 0 where iterations hold less than a lone prefill")
    return _metric(e, "ttft_s", "host + prefill_s + waiting", host, own, waiting)


def _tpot(e: Evaluation) -> Term:
    if e.traffic.batch is not None:
        ttft = given("ttft_s", _value(e, "ttft_s"), "s", "a request's own prompt, which its e2e_s holds")
        return _metric(e, "tpot_s", "(e2e_s - ttft_s) / (output_tokens - 1)", _e2e(e), ttft, _lengths(e))
    decode, steps, tokens = _decode(e), _steps(e), _lengths(e)
    stay = _value(e, "tpot_s") * (tokens.value - 1)
    between = given("prompts_between", stay / steps.value - decode.value, "s",
                    "a decode iteration's share of others' prompts: laws of batching; also what a batch that is not "
                    "the one of the step changes")
    return _metric(e, "tpot_s", "steps * (decode_step_s + prompts_between) / (output_tokens - 1)",
                   steps, decode, between, tokens)


def _e2e(e: Evaluation) -> Term:
    if e.traffic.batch is None:
        ttft, tpot = (given(name, _value(e, name), "s") for name in ("ttft_s", "tpot_s"))
        if not np.isfinite(tpot.value):
            return _metric(e, "e2e_s", "ttft_s", ttft)
        return _metric(e, "e2e_s", "ttft_s + tpot_s * (output_tokens - 1)", ttft, tpot, _lengths(e))
    return _metric(e, "e2e_s", "batch / prompts * prefill_s + steps * decode_step_s",
                   given("batch", e.traffic.batch, "", "sequences that decode"),
                   given("prompts", e.deployment.plan.batching.prompts, "", "computed together"), _prefill(e),
                   _steps(e), _decode(e), note="the cycle in which every sequence of the batch is answered once")


def _requests(e: Evaluation) -> Term:
    t = e.traffic
    if t.batch is not None:
        return _metric(e, "requests_s", "dp * batch / e2e_s", given("dp", e.deployment.dp, "", "replicas"),
                       given("batch", t.batch), given("e2e_s", _value(e, "e2e_s"), "s"))
    if t.concurrency is not None:
        return _metric(e, "requests_s", "concurrency / e2e_s", given("concurrency", t.concurrency, "", "users"),
                       given("e2e_s", _value(e, "e2e_s"), "s"))
    rate = given("rate", t.rate, "1/s", "requests that come")
    most = given("most", _value(e, "saturation_requests_s") / t.peak_to_mean, "1/s", "requests that full batches answer")
    made = _metric(e, "requests_s", "min(rate, most)", rate, most)
    return Term(made.name, made.value, made.unit, made.formula, made.parts,
                "rate" if rate.value <= most.value else "most")


def _tokens(e: Evaluation) -> Term:
    return _metric(e, "output_tok_s", "requests_s * output_tokens", _requests(e), _lengths(e))


def _per(figure: str, unit: str, metric: str, note: str) -> Law:
    """Output tokens over a figure of every device."""
    def law(e: Evaluation) -> Term:
        each = given(figure, getattr(e.system.chip, figure), unit, note)
        return _metric(e, metric, f"output_tok_s / (gpus * {figure})", _tokens(e), _gpus(e), each)
    return law


def _gpus(e: Evaluation) -> Term:
    return given("gpus", e.deployment.gpus, "", "devices")


def _hour(e: Evaluation) -> Term:
    parts = hourly_parts(e.system) or {}
    terms = [given(name, value, "USD/h", _MONEY.get(name, "")) for name, value in parts.items()]
    sold = "owned" if "chip" in parts else ""
    used = e.system.economics.utilisation if sold else 1.0
    each = sum(term.value for term in terms) / float(used)
    device = derived("device", each, "USD/h", f"({' + '.join(t.name for t in terms)}) / utilisation",
                     (*terms, given("utilisation", used, "", "share of the hours that is sold or busy")))
    return _metric(e, "usd_per_hour", "gpus * device", _gpus(e), device)


_MONEY = {"chip": "capital over its life, and operations", "server": "the same of the server around it",
          "network": "the same of the network", "building": "per W of nameplate power", "energy": "at the meter",
          "rent": "of the catalogue", "price": "as given"}


def _mtok(e: Evaluation) -> Term:
    seconds = given("seconds", SECONDS_PER_HOUR, "", "of an hour")
    return _metric(e, "usd_per_mtok", "1e6 * usd_per_hour / (output_tok_s * seconds)", _hour(e), _tokens(e), seconds)


def _mtok_total(e: Evaluation) -> Term:
    return _metric(e, "usd_per_mtok_total", "1e6 * usd_per_hour / (requests_s * (input_tokens + output_tokens) * "
                   "seconds)", _hour(e), _requests(e), given("input_tokens", e.traffic.input_tokens), _lengths(e),
                   given("seconds", SECONDS_PER_HOUR, "", "of an hour"))


def _joules(e: Evaluation) -> Term:
    tokens, pue = _tokens(e), given("pue", e.system.economics.pue, "", "the building's overhead")
    gpus = _gpus(e)
    watts = given("watts", _value(e, "joule_per_token") * tokens.value / (gpus.value * pue.value), "W",
                  "of a device: at rest and by its work, at most its TDP")
    return _metric(e, "joule_per_token", "gpus * pue * watts / output_tok_s", gpus, pue, watts, tokens)


def _slots(e: Evaluation) -> Term:
    f = e.footprint
    if any(total(each) for each in (f.host_per_sequence, f.disk_per_sequence)):
        raise InputError("kv_slots", "has no chain where sequences are held in several memories", "see dse evaluate")
    return _metric(e, "kv_slots", "max(floor((capacity - fixed) / per_sequence), 0)",
                   given("capacity", f.capacity, "B", "of the device that the engine fills"),
                   added_bytes("fixed", f.fixed), added_bytes("per_sequence", f.per_sequence))


def added_bytes(name: str, objects: Mapping[str, object]) -> Term:
    """Bytes by object, and their sum."""
    parts = [given(key, float(value), "B") for key, value in objects.items() if float(value)]  # type: ignore[arg-type]
    return derived(name, sum(p.value for p in parts), "B", " + ".join(p.name for p in parts), parts)


def _renamed(metric: str, law: Law) -> Law:
    def made(e: Evaluation) -> Term:
        term = law(e)
        return Term(metric, term.value, term.unit, term.formula, term.parts, term.binding, METRICS[metric].definition)
    return made


CHAINS: Mapping[str, Law] = {
    "ttft_s": _ttft, "tpot_s": _tpot, "e2e_s": _e2e, "requests_s": _requests, "output_tok_s": _tokens,
    "output_tok_s_per_gpu": lambda e: _metric(e, "output_tok_s_per_gpu", "output_tok_s / gpus", _tokens(e), _gpus(e)),
    "kv_slots": _slots, "prefill_s": _renamed("prefill_s", _prefill),
    "decode_step_s": _renamed("decode_step_s", _decode), "usd_per_hour": _hour, "usd_per_mtok": _mtok,
    "usd_per_mtok_total": _mtok_total,
    "tokens_per_usd": lambda e: _metric(e, "tokens_per_usd", "1e6 / usd_per_mtok", _mtok(e)),
    "output_tok_s_per_mm2": _per("die_mm2", "mm2", "output_tok_s_per_mm2", "all dies of a device"),
    "output_tok_s_per_watt": _per("tdp_w", "W", "output_tok_s_per_watt", "nameplate power of a device"),
    "joule_per_token": _joules,
}
"""The metrics that are sums and products of terms."""


def bindings(term: Term) -> Iterator[tuple[str, str]]:
    """Every maximum of a tree, and the part that decides it."""
    if term.binding:
        yield term.name, term.binding
    for part in term.parts:
        yield from bindings(part)
