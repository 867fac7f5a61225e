"""The head of the page in words: what was asked, what came out, and how sure the search is."""

from __future__ import annotations

from typing import Any

from dse.model.metrics import METRICS
from dse.report.figures import chosen
from dse.report.words import SCALED, listed, metric_value, plan_words, quantity, share, shorten, traffic_words

Document = dict[str, Any]
_CARDS = ("usd_per_mtok", "tpot_s", "ttft_s", "output_tok_s_per_gpu", "usd_per_hour", "joule_per_token")


def asked(result: Document) -> list[tuple[str, str]]:
    """The question, as terms and values."""
    search = result["search"]
    limits = [f"{METRICS[name].title} at most {quantity(limit, METRICS[name].unit)}"
              for name, limit in search["limits"].items() if limit is not None]
    aims = [f"{'most' if METRICS[name].better > 0 else 'least'} {METRICS[name].title}"
            for name in search["objectives"]]
    rows = [("question", shorten(search.get("question") or "", 300)), ("model", shorten(search["model"], 200)),
            ("hardware", shorten(search["hardware"], 200)),
            ("devices", f"up to {listed(search.get('gpus'))}" if search.get("gpus") is not None else ""),
            ("engine", shorten(search.get("engine") or "")), ("traffic", traffic_words(search["traffic"])),
            *((("targets", "; ".join(limits) or "none"), ("wanted", " and ".join(aims)))
              if result["counts"]["considered"] else ()),
            ("techniques", ", ".join(map(shorten, search.get("variants") or ()))),
            ("searched freely", _free_words(search.get("free") or ()))]
    return [(term, text) for term, text in rows if text]


def _free_words(free: Any) -> str:
    """The continuous variables, with their ranges where these are told."""
    if not isinstance(free, dict):
        return ", ".join(shorten(name) for name in free)
    return ", ".join(f"{shorten(name)} {_range(axis)}" for name, axis in free.items())


def _range(axis: Document) -> str:
    unit = str(axis.get("unit") or "")
    if unit in SCALED:
        return f"{quantity(axis.get('low'), unit)} to {quantity(axis.get('high'), unit)}"
    return f"{quantity(axis.get('low'))} to {quantity(axis.get('high'))} ({shorten(unit) or 'no unit'})"


def answer(result: Document) -> str:
    """The chosen plan in a sentence; where it does not fit, what it lacks."""
    plan = chosen(result)
    return "No plan met the constraints." if plan is None else f"Plan {plan['id']}: {plan_sentence(plan)}"


def plan_sentence(plan: Document) -> str:
    """A plan in a sentence; where it does not fit, what it lacks."""
    sentence = f"{plan_words(plan)}."
    if plan["feasible"]:
        return sentence
    over = [f"{shorten(name)} over by {share(value, 1)}" for name, value in plan["constraints"].items()
            if value is not None and value > 0]
    return f"{sentence} It is not feasible: {', '.join(over) or 'a constraint is not met'}."


def cards(result: Document) -> list[tuple[str, str]]:
    """The figures of merit of the chosen plan."""
    plan = chosen(result)
    if plan is None:
        return []
    names = dict.fromkeys((*result["search"]["objectives"], *_CARDS))
    return [(METRICS[name].title, metric_value(name, plan["metrics"])) for name in names]


def plan_cards(plan: Document) -> list[tuple[str, str, str]]:
    """The figures of any plan, each with its 80 % interval, "" where it has none."""
    return [(METRICS[name].title, metric_value(name, plan["metrics"]), _interval(plan, name)) for name in _CARDS]


def _interval(plan: Document, name: str) -> str:
    low, high = (plan.get("intervals") or {}).get(name) or (None, None)
    if low is None or high is None:
        return ""
    unit = METRICS[name].unit if METRICS[name].unit in SCALED else ""
    return f"{quantity(low, unit)} to {quantity(high, unit)}"


def outcome(result: Document) -> list[tuple[str, str]]:
    """How many plans were looked at, which constraints rejected how many, regret, and how it was run."""
    counts, search = result["counts"], result["search"]
    if not counts["considered"]:        # plans that were asked for, not searched
        return []
    rejected = ", ".join(f"{quantity(n)} by {shorten(name)}" for name, n in counts["rejected"].items() if n)
    regret = shorten((result.get("regret") or {}).get("text") or "regret: not measured", 300)
    run = [f"{words} {quantity(search[key])}" for key, words in (("trials", "trials"), ("seed", "seed"))
           if search.get(key) is not None]
    spent = [f"{shorten(name)} {quantity(value, 's')}" for name, value in (result.get("seconds") or {}).items()]
    rows = [("plans considered", quantity(counts["considered"])), ("feasible", quantity(counts["feasible"])),
            ("rejected", rejected or "none"), ("on the front", _front_words(result)),
            ("regret", regret.removeprefix("regret:").strip()), ("search", ", ".join([*run, *spent])),
            ("interrupted", "yes: the front of the trials that were finished" if search.get("interrupted") else ""),
            *(("note", shorten(note, 300)) for note in result.get("notes") or ())]
    return [(term, text) for term, text in rows if text]


def _front_words(result: Document) -> str:
    """How many plans are on the front, and how many of them are on this page."""
    shown, whole = len(result["front"]), result.get("front_points")
    return quantity(shown) if whole in (None, shown) else f"{quantity(whole)}, of which {quantity(shown)} are shown"
