"""The page of a metric's chain: formulas with their numbers, indented; binding branches; crossovers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from dse.cli import show
from dse.cli.remedies import violations
from dse.model.chain import Term
from dse.model.chain_metrics import binding_branches, influence
from dse.model.evaluate import Evaluation
from dse.model.metrics import METRICS
from dse.search.crossovers import Crossover

LEAST_SHARE = 0.02
"""Share of the whole below which a term is not taken apart."""
INDENT = 2
PHASES = ("prefill_s", "decode_step_s")
PASSED = ("layers", "each", "prefill", "fill", "slowest", "kernel")
"""Names on the way to an operation that say no more than its own."""


def chain_page(e: Evaluation, metric: str, term: Term, crossovers: Sequence[Crossover]) -> Iterator[RenderableType]:
    """The chain of one plan's metric."""
    yield Text(f"{METRICS[metric].title} of {e.model.name} on {show.significant(e.system.gpus)} x {e.system.name}",
               style="bold")
    for line in violations(e):
        yield Text(f"infeasible: {line}", style="red")
    yield Text(f"{metric}: {METRICS[metric].definition}")
    yield show.heading("From the metric to its inputs (* binds a maximum)")
    yield from _lines(term, 0, 1.0, "")
    yield Text(f"Terms that make less than {100 * LEAST_SHARE:g} % of the whole are taken apart by --json only.")
    found = dict(_bindings(term))
    if found:
        yield show.heading("Binding branches")
        yield show.pairs(found.items())
    if crossovers:
        yield show.heading("Crossovers")
        yield show.pairs([(c.title, _crossover(c)) for c in crossovers])


def _lines(term: Term, depth: int, share: float, mark: str) -> Iterator[RenderableType]:
    """A term, its formula, and below it the parts that matter. share: of the whole metric."""
    note = f"  ({term.note})" if term.note else ""
    yield Padding(Text(f"{mark}{term.name} = {figure(term)}{note}"), (0, 0, 0, INDENT * depth))
    if not term.formula:
        return
    if term.formula not in [part.name for part in term.parts]:
        yield Padding(Text(f"= {term.formula}", style="dim"), (0, 0, 0, INDENT * (depth + 1)))
    small = []
    for part in term.parts:
        own, binds = share * influence(term, part), "*" if part.name == term.binding else ""
        if own >= LEAST_SHARE:
            yield from _lines(part, depth + 1, own, binds)
        else:
            small.append(f"{binds}{part.name} = {figure(part)}")
    if small:
        yield Padding(Text(", ".join(small)), (0, 0, 0, INDENT * (depth + 1)))


def figure(term: Term) -> str:
    """A term's value with its unit."""
    return show.with_prefix(term.value, term.unit)


def _bindings(term: Term) -> Iterator[tuple[str, str]]:
    """Each maximum by its way; what comes twice, as a phase in two terms does, is told once."""
    for path, found in binding_branches(term):
        words = ", ".join(f"{p.name} {figure(p)}" for p in sorted(found.parts, key=lambda p: -p.value))
        way = [name for name in path if name in PHASES or name not in (*PASSED, *METRICS)]
        yield ".".join(way), f"{found.binding} ({words})"


def _crossover(c: Crossover) -> str:
    return c.words if c.value is None else f"{show.with_prefix(c.value, c.unit)}: {c.words}"
