"""The page that `dse evaluate` prints: metrics, memory, cost and where every microsecond goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dse.cli import show, traffic
from dse.cli.explain import explanation
from dse.cli.remedies import remedies, violations
from dse.equations.num import Number
from dse.model.deployment import Deployment
from dse.model.evaluate import PHASES, Evaluation
from dse.model.money import missing_price
from dse.model.open_loop import SCORES
from dse.model.spans import RESOURCES, Charges
from dse.model.system import System
from dse.plan.fields import Placement
from dse.plan.vocabulary import WEIGHT_OBJECTS

LABELS = {"compute": "compute", "l2": "L2", "hbm": "HBM", "link": "link", "host_link": "host link",
          "disk_link": "disk", "cpu": "CPU", "host_memory": "host memory",
          "latency": "latency", "engine": "engine"}


def evaluation_page(e: Evaluation, explain: bool, settings: Mapping[str, str],
                    source: traffic.Source | None = None) -> Iterator[RenderableType]:
    """Everything about one plan."""
    yield from _header(e, settings, source)
    yield from _infeasible(e)
    yield show.heading("Speed (in brackets: 80 % intervals)")
    yield show.pairs(_speed(e))
    if e.traffic.rate is not None:
        yield show.heading("Latency over requests")
        yield show.table(("", "mean", *(q.upper() for q in SCORES)), _latencies(e))
    yield from _memory(e)
    yield show.heading("Cost and energy")
    yield show.pairs(_money(e))
    for phase in PHASES:
        name = "a lone prompt" if phase == "prefill" else "one iteration"
        yield from charge_table(f"{phase.capitalize()} ({name}): charged time", e.breakdown(phase))
    if explain:
        yield from explanation(e)


def _header(e: Evaluation, settings: Mapping[str, str], source: traffic.Source | None) -> Iterator[RenderableType]:
    d, system = e.deployment, e.system
    splits = " ".join(f"{name}={int(getattr(d, name))}" for name in ("tp", "pp", "dp", "ep", "cp")
                      if name in ("tp", "dp") or getattr(d, name) != 1)
    place = system.chip.name if system.name == system.chip.name else f"{system.chip.name} of {system.name}"
    yield Text(f"{e.model.name} on {int(d.gpus)} x {place} ({system.engine.name})", style="bold")
    own = [] if e.plan.pools.members else [splits]
    rows = [("plan", "; ".join([*own, *_pools_and_drafts(e)])), ("formats", formats_in_words(d)),
            ("traffic", traffic.in_words(e.traffic)), *traffic.remarks([e.traffic], source)]
    if e.plan.placement.uses_host:
        held = (("host memory", "host"), ("disk", "disk"))
        rows += [(name, words) for name, tier in held if (words := placement_in_words(e.plan.placement, tier))]
    if settings:
        rows.append(("set", ", ".join(f"{path}={value}" for path, value in settings.items())))
    yield show.pairs(rows)


def _pools_and_drafts(e: Evaluation) -> Iterator[str]:
    pool, chance = e.plan.pools.prefill, e.plan.chance
    for member in e.plan.pools.members.values():
        d = e.deployment.prefills if member.serves == "prefill" else e.deployment
        yield f"{int(member.count)} for {member.serves} with tp={int(d.tp)}" + (f" pp={int(d.pp)}" if d.pp != 1 else "")
    if pool is not None:
        rest = int(e.deployment.dp - pool)
        yield f"{int(pool)} replica{'' if pool == 1 else 's'} for prefill, {rest} for decode"
    if float(chance.draft_tokens):
        drafted = show.significant(chance.draft_tokens)
        yield f"{drafted} tokens drafted a step, {show.percent(chance.acceptance)} accepted"


def formats_in_words(d: Deployment) -> str:
    """The number format of each object, equal ones together."""
    f = d.formats
    kinds = {"attention weights": f.attention_weights, "MLP weights": f.mlp_weights,
             "expert weights": f.expert_weights, "embedding": f.embedding}
    if len({kinds[n] for n in list(kinds)[:3]}) == 1:
        kinds = {"weights": f.mlp_weights, "embedding": f.embedding}
    words = [f"{name} {value}" for name, value in {**kinds, "KV": f.kv, "activations": f.activations}.items()]
    changed = (f"{_object(name)} in a form of its own" for name in f.forms)
    return ", ".join((*words, *changed))


def placement_in_words(placement: Placement, tier: str = "host") -> str:
    """Which share of what is in host memory, or on disk."""
    shares = {name: float(row.get(tier, 0)) for name, row in placement.rows.items()}
    together = {shares.get(name) for name in WEIGHT_OBJECTS}
    if len(together) == 1 and None not in together:
        shares = {"weights": shares["embedding"], **{k: v for k, v in shares.items() if k not in WEIGHT_OBJECTS}}
    return ", ".join(f"{100 * share:g} % of {_object(name)}" for name, share in shares.items() if share)


def _infeasible(e: Evaluation) -> Iterator[RenderableType]:
    if e.feasible:
        return
    yield show.heading("Infeasible")
    for line in violations(e):
        yield Text(line, style="red")
    found = remedies(e)
    yield Text("what would fix it: " + ("; or ".join(found) if found else "no single change that was tried"))


def _between(ends: Mapping[str, tuple[Number, Number]], name: str, shown: Callable[[Number], str]) -> str:
    """The 80 % interval of a metric, where it has one."""
    if name not in ends or not all(np.isfinite(end) for end in ends[name]) or ends[name][0] == ends[name][1]:
        return ""
    low, high = ends[name]
    return f" ({shown(low)} to {shown(high)})"


def _speed(e: Evaluation) -> Iterator[tuple[str, str]]:
    m, ends = e.metrics, e.intervals

    def between(name: str, shown: Callable[[Number], str] = show.seconds) -> str:
        return _between(ends, name, shown)

    yield "time to first token", f"{show.seconds(m['ttft_s'])}{between('ttft_s')} TTFT, mean, waiting included"
    yield "time per output token", f"{per_token(e, 4)}{between('tpot_s')} TPOT, mean"
    yield "time to last token", f"{show.seconds(m['e2e_s'])}{between('e2e_s')}"
    per_gpu = show.significant(m["output_tok_s_per_gpu"])
    flow = between("output_tok_s", show.significant)
    yield "output throughput", f"{show.significant(m['output_tok_s'])}{flow} tok/s, {per_gpu} tok/s per GPU"
    yield "requests", f"{show.significant(m['requests_s'])} requests/s"
    most, good, t = m["saturation_requests_s"], m["goodput_requests_s"], e.traffic
    if most is not None:
        share = f"the load is {show.percent(t.peak_rate / most)} of it" if most else "no batch fits"
        yield "saturation", f"{show.significant(most)} requests/s, {share}"
    if good is not None:
        yield "goodput", (f"{show.significant(good)} requests/s ({show.percent(good / t.rate)}) within TTFT "
                          f"{show.seconds(t.ttft_target)} and TPOT {show.seconds(t.tpot_target)}")
    slots = show.significant(m["kv_slots"])
    yield "running batch", f"{show.significant(m['batch'])} sequences per replica, room for {slots}"
    yield "lone prefill", f"{show.seconds(m['prefill_s'])}, {_bound(e, 'prefill')}"
    yield "decode step", f"{show.seconds(m['decode_step_s'])}, {_bound(e, 'decode')}"


def _latencies(e: Evaluation) -> Iterator[Sequence[str]]:
    """Mean and quantiles over the requests of a rate."""
    single = float(e.traffic.output_tokens) == 1
    for name, words in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "to last token")):
        figures = [show.seconds(e.metrics[f"{name}_{q}_s"]) for q in SCORES]
        mean = per_token(e, 4) if name == "tpot" else show.seconds(e.metrics[f"{name}_s"])
        yield words, mean, *(["-"] * len(figures) if single and name == "tpot" else figures)


def per_token(e: Evaluation, digits: int) -> str:
    """TPOT; there is none for a single token, and none that lasts where requests come too fast."""
    if float(e.traffic.output_tokens) == 1:
        return "-"
    if float(e.constraints.get("rate", -1.0)) > 0:
        return show.UNBOUNDED
    return show.seconds(e.metrics["tpot_s"], digits)


def _bound(e: Evaluation, phase: str) -> str:
    """The resource charged most, and its share of the phase."""
    name, charges = e.bound_by(phase), e.breakdown(phase)
    whole = sum(float(v) for v in charges.values())
    share = sum(float(v) for (_, r), v in charges.items() if r == name) / whole if whole else 0.0
    return f"bound by {LABELS[name]} ({show.percent(share)} of it)"


def _memory(e: Evaluation) -> Iterator[RenderableType]:
    yield show.heading("Memory of the fullest GPU, GB (1e9 B)")
    yield _memory_table(e.memory, float(e.system.chip.memory_bytes))
    if e.host_memory and e.system.node.host is not None:
        yield show.heading("Host memory per GPU, GB (1e9 B)")
        yield _memory_table(e.host_memory, float(e.system.node.host.memory_bytes))


def _memory_table(parts: Mapping[str, Number], capacity: float) -> Table:
    sizes = {_object(name): float(value) for name, value in parts.items() if float(value)}
    sizes = {**sizes, "in all": sum(sizes.values())}
    rows = [(name, show.gigabytes(size), show.percent(size / capacity), show.bar(size / capacity))
            for name, size in sizes.items()]
    made = show.table(("object", "GB", f"of {capacity / 1e9:,.4g} GB", ""), rows, total=True)
    made.columns[3].justify = "left"
    return made


def _object(name: str) -> str:
    return {"kv": "KV", "mlp_weights": "MLP weights", "x": "layer inputs"}.get(name, name.replace("_", " "))


def _money(e: Evaluation) -> Iterator[tuple[str, str]]:
    m, system = e.metrics, e.system
    if m["usd_per_hour"] is None:
        yield "cost", f"{show.UNKNOWN}: {missing_price(system)}"
    else:
        ends = e.intervals
        hour, token = (_between(ends, name, show.significant) for name in ("usd_per_hour", "usd_per_mtok"))
        yield "deployment", f"{show.significant(m['usd_per_hour'])}{hour} USD/h, {cost_basis(system)}"
        yield "output tokens", f"{show.significant(m['usd_per_mtok'])}{token} USD/Mtok, every cost on them"
        yield "all tokens", f"{show.significant(m['usd_per_mtok_total'])} USD/Mtok"
        split = (f"{show.significant(m['usd_per_mtok_input'])} USD/Mtok input, "
                 f"{show.significant(m['usd_per_mtok_output'])} USD/Mtok output")
        yield "split by device time", split
        yield "output per dollar", f"{show.significant(m['tokens_per_usd'])} tok/USD"
    law = "TDP x average draw x PUE x time" if system.chip.silicon is None else "rest, FLOPs and bytes, x PUE"
    watts = "TDP unknown" if m["joule_per_token"] is None else law
    yield "energy", f"{show.significant(m['joule_per_token'])} J per output token ({watts})"


def cost_basis(system: System) -> str:
    """Where the price of an hour comes from."""
    if system.usd_per_gpu_hour is not None:
        return "at the price given"
    return "owned (capital, network, building, power)" if system.cost_basis == "owned" else "rented"


def charge_table(title: str, charges: Charges, sums: bool = True) -> Iterator[RenderableType]:
    """Operations x resources with their sums; columns and operations without a charge are left out."""
    cells = {key: float(value) for key, value in charges.items() if float(value) > 0}
    whole = sum(cells.values())
    if not whole:
        return
    scale, unit = (1e6, "us") if whole < 0.1 else (1e3, "ms")
    decimals = max(4 - len(str(int(whole * scale))), 0)
    columns = [r for r in RESOURCES if any(resource == r for _, resource in cells)]
    ops = list(dict.fromkeys(op for op, _ in cells))

    def line(name: str, values: Sequence[float]) -> list[str]:
        shown = [f"{v * scale:.{decimals}f}" if v else "" for v in values]
        return [name, *shown, f"{sum(values) * scale:.{decimals}f}"] if sums else [name, *shown]

    rows = [line(op, [cells.get((op, r), 0.0) for r in columns]) for op in ops]
    if sums:
        rows.append(line("in all", [sum(v for (_, name), v in cells.items() if name == r) for r in columns]))
    yield show.heading(f"{title}, {unit}")
    made = show.table(("operation", *(LABELS[r] for r in columns), *(("in all",) if sums else ())), rows, total=sums)
    made.padding = (0, 1, 0, 0)
    yield made
