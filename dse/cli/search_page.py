"""The page that `dse search` prints: the cheapest plan, the front, what binds, what was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from dse.cli import show
from dse.cli.answers_page import answers_page
from dse.cli.remedies import violations
from dse.errors import NothingFeasibleError
from dse.model.metrics import METRICS
from dse.search.pareto import spread
from dse.search.result import evaluation_at
from dse.search.space import SPLITS, Space
from dse.search.structures import as_spaces, space_of
from dse.search.study import Outcome
from dse.search.variables import OFFLOADS
from dse.search.variant import NEUTRAL

MOST_ROWS = 20
REASONS = {"memory": "device memory", "host_memory": "host memory", "rate": "the rate asked for",
           "ttft_ms": "--ttft-ms", "tpot_ms": "--tpot-ms", "ttft_p90_ms": "--ttft-p90-ms",
           "tpot_p90_ms": "--tpot-p90-ms", "reticle": "the reticle (reticle)",
           "shoreline": "the edge of the die (shoreline)", "finite": "an objective without a value",
           "knobs": "values of knobs that cannot be together"}
_FREE = {"kv_offload": ("KV off", 1.0), "weight_offload": ("w off", 1.0), "l2": ("L2 MB", 1e6), "hbm": ("HBM", 1.0),
         "hbm_rate": ("HBM TB/s", 1e12), "link": ("GB/s", 1e9), "cores": ("cores", 1.0), "clock": ("GHz", 1e9),
         "budget": ("budget", 1.0)}
"""Heading and unit of a free variable's column."""
_LOADS = {"concurrency": "users", "rate": "req/s", "batch": "batch"}


def search_page(result: Mapping[str, Any], written: Sequence[str]) -> Iterator[RenderableType]:
    """Everything a search says on a terminal."""
    search, chosen = result["search"], result["front"][result["chosen"]]
    first = search["objectives"][0]
    title = METRICS[first].title if METRICS[first].better < 0 else f"most {METRICS[first].title}"
    lead = f"Least {title}" if METRICS[first].better < 0 else title.capitalize()
    yield Text(f"{search['model']} on up to {search['gpus']} x {search['hardware']} ({search['engine']})",
               style="bold")
    if "question" in search:
        yield Text(search["question"])
    yield show.heading(lead + (" within the limits" if search["limits"] else ""))
    yield show.pairs(_chosen(search, chosen))
    yield show.heading(_front_title(result))
    yield _front(result)
    if "answers" in result:
        yield from answers_page(result["answers"])
    yield show.heading("Search")
    yield show.pairs(_account(result, written))


def _chosen(search: Mapping[str, Any], member: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    metrics = member["metrics"]
    machine = member.get("hardware", "devices")
    yield "plan", f"{_plan(member)} on {show.significant(metrics['gpus'])} {machine}, {_load(member)}"
    if "techniques" in member:
        knobs = [f"{name} {_knob(value)}" for name, value in member["knobs"].items()]
        yield "techniques", ", ".join([" + ".join(member["techniques"]) or "none", *knobs])
    for name in dict.fromkeys((*search["objectives"], *search["limits"], "usd_per_mtok", "ttft_s", "tpot_s",
                               "output_tok_s_per_gpu")):
        ends = member["intervals"].get(name)
        between = f", 80 %: {_figure(name, ends[0])} to {_figure(name, ends[1])}" if ends and None not in ends else ""
        yield METRICS[name].title, _figure(name, metrics[name]) + between
    yield "bound by", ", ".join(f"{resource} ({phase})" for phase, resource in member["bound_by"].items())


def _front_title(result: Mapping[str, Any]) -> str:
    count = result["front_points"]
    shown = min(len(result["front"]), MOST_ROWS)
    return f"Pareto front: {count} plan{'s' if count > 1 else ''}" + (
        f", {shown} of them evenly spread" if shown < count else "")


def _front(result: Mapping[str, Any]) -> RenderableType:
    search, front = result["search"], result["front"]
    load = next(name for name in _LOADS if name in front[0]["traffic"])
    varied = [name for name in ("weights", "kv") if len(search[name]) > 1]
    several = ["technique"] if "techniques" in front[0] else []
    chips = ["chip"] if "hardware" in front[0] else []
    free = list(dict.fromkeys(name for m in front for name in m["free"]))
    knobs = list(dict.fromkeys(name for m in front for name in m.get("knobs", ())))
    room = 0 if len(free) + len(chips) + len(knobs) + len(several) + len(varied) > 2 else 3       # of 80 columns
    aims = [name for name in search["objectives"] if name != "gpus"]
    metrics = tuple(dict.fromkeys((*aims, *("ttft_s", "tpot_s", "usd_per_mtok")[:room])))
    columns = ["#", "plan", *chips, *several, *(["formats"] if varied else []), "GPUs", _LOADS[load],
               *(_FREE[name][0] for name in free), *(name.rpartition(".")[2] for name in knobs),
               *map(_short, metrics)]
    rows = []
    for i in spread(len(front), MOST_ROWS):
        m = front[i]
        formats = {"weights": m["plan"]["formats"]["mlp_weights"], "kv": m["plan"]["formats"]["kv"]}
        techniques = ["+".join(m["techniques"]) or "none"] if several else []
        named = ["/".join(_format(formats[name]) for name in varied)] if varied else []
        on = [m["hardware"]] if chips else []
        rows.append([str(m["id"]), _splits(m), *on, *techniques, *named,
                     show.significant(m["metrics"]["gpus"]), show.significant(m["traffic"][load]),
                     *(_free(name, m["free"].get(name)) for name in free),
                     *(_knob(m["knobs"].get(name)) for name in knobs),
                     *(_cell(name, m["metrics"][name]) for name in metrics)])
    return show.table(columns, rows, left=2 + len(chips) + len(several) + bool(varied), wraps=False)


def _account(result: Mapping[str, Any], written: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What was looked at and rejected, the regret, and where the time went."""
    counts, search, seconds = result["counts"], result["search"], result["seconds"]
    trials = f" in {search['trials']} trials" if search["trials"] else ""
    yield "plans", f"{counts['considered']:,} considered{trials}, {counts['feasible']:,} feasible"
    rejected = [f"{count:,} by {REASONS.get(name, name)}" for name, count in counts["rejected"].items() if count]
    yield "rejected", ", ".join(rejected) or "none"
    yield "regret", result["regret"]["text"].removeprefix("regret: ")
    yield "time", ", ".join(f"{show.seconds(value, 3)} {name}" for name, value in seconds.items() if value)
    for note in result["notes"]:
        yield "note", note
    if search["interrupted"]:
        yield "note", "interrupted: what the finished trials found"
    for path in written:
        yield "wrote", path


def _short(name: str) -> str:
    """A metric with its unit, short enough for a column."""
    head = {"usd_per_mtok": "$/Mtok", "ttft_s": "TTFT ms", "tpot_s": "TPOT ms", "e2e_s": "E2E s",
            "output_tok_s": "tok/s", "output_tok_s_per_gpu": "tok/s/GPU", "output_tok_s_per_mm2": "tok/s/mm2",
            "output_tok_s_per_watt": "tok/s/W", "tokens_per_usd": "tok/$", "joule_per_token": "J/tok"}
    quantile = f"{name[:4].upper()} {name[5:8].upper()} ms" if _in_ms(name) else name
    return head.get(name, quantile)


def _in_ms(name: str) -> bool:
    return name.startswith(("ttft_", "tpot_"))


def _cell(name: str, value: Any) -> str:
    return show.significant(value * 1e3 if value is not None and _in_ms(name) else value)


def _figure(name: str, value: Any) -> str:
    return show.with_prefix(value, METRICS[name].unit) if METRICS[name].unit == "s" else (
        f"{show.significant(value)} {METRICS[name].unit}".rstrip())


def _splits(member: Mapping[str, Any]) -> str:
    par = member["plan"]["parallelism"]
    return " ".join(f"{name}{show.significant(par[name])}" for name in SPLITS
                    if name in ("tp", "dp") or par[name] != 1)


def _plan(member: Mapping[str, Any]) -> str:
    formats = member["plan"]["formats"]
    away = {name: row["host"] for name, row in member["plan"]["placement"].items() if row.get("host")}
    held = {"weights": away.get("mlp_weights"), "KV": away.get("kv")}
    words = [f"{show.percent(share)} of {name} in host memory" for name, share in held.items() if share]
    return ", ".join([_splits(member), f"weights {_format(formats['mlp_weights'])}, KV {_format(formats['kv'])}",
                      *words])


def _format(cell: Any) -> str:
    """A number format by its name; one with forms on top of it says so."""
    return cell if isinstance(cell, str) else f"{next((item for item in cell if isinstance(item, str)), '')} reshaped"


def _load(member: Mapping[str, Any]) -> str:
    name = next(name for name in _LOADS if name in member["traffic"])
    return f"{show.significant(member['traffic'][name])} {_LOADS[name]}"


def _free(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return show.percent(value) if name in OFFLOADS else show.significant(value / _FREE[name][1], 3)


def _knob(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else show.significant(value, 3)


def nothing_feasible(space: Space | Sequence[Space], outcome: Outcome) -> NothingFeasibleError:
    """The constraint that rejects most, and the plan that comes nearest."""
    worst = max(outcome.rejected, key=lambda name: outcome.rejected[name])
    total = sum(outcome.rejected.values())
    message = (f"none of {outcome.considered:,} plans is feasible; {REASONS.get(worst, worst)} rejects most "
               f"({outcome.rejected[worst]:,} of {total:,})")
    if outcome.miss is None:
        return NothingFeasibleError("search", message)
    spaces, space = as_spaces(space), space_of(space, outcome.miss.point, 0)
    nearest = evaluation_at(space, outcome.miss.point, 0)
    d, kind = nearest.deployment, space.load
    splits = " ".join(f"{name}={show.significant(getattr(d, name))}" for name in SPLITS
                      if name in ("tp", "dp") or getattr(d, name) != 1)
    found = violations(nearest) or [f"{REASONS.get(outcome.miss.constraint, outcome.miss.constraint)}: "
                                    f"{100 * outcome.miss.excess:,.3g} % over"]
    on = space.variants[int(outcome.miss.point.column("technique")[0])].name if space.variants != (NEUTRAL,) else ""
    load = f"{show.significant(getattr(nearest.traffic, kind))} {_LOADS[kind]}"
    chip = space.system.name if len(spaces) > 1 else ""
    plan = ", ".join(filter(None, [chip, splits, on, load]))
    return NothingFeasibleError("search", message, f"the nearest miss is {plan}: {'; '.join(found)}")
