"""The table that `dse evaluate` prints for comma lists: one line a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.text import Text

from dse.cli import show, traffic
from dse.cli.evaluate_page import per_token
from dse.errors import DseError
from dse.model.evaluate import Evaluation

_SHORT = {"input_tokens": "in", "output_tokens": "out", "concurrency": "users", "kv_offload": "kv off",
          "weight_offload": "w off", "activations": "act", "prefill_replicas": "prefill", "draft_tokens": "draft",
          "acceptance": "accept", "input_cv2": "in cv2", "output_cv2": "out cv2", "arrival_cv2": "cv2",
          "peak_to_mean": "peak",
          "prefix_hit": "hit", "ttft_target_ms": "TTFT ms", "tpot_target_ms": "TPOT ms"}


def table_page(rows: Sequence[tuple[Mapping[str, float | str], Evaluation]],
               refused: Sequence[tuple[Mapping[str, float | str], DseError]],
               source: traffic.Source | None = None) -> Iterator[RenderableType]:
    """One line a plan, and below it the combinations that cannot exist."""
    first = rows[0][1]
    yield Text(f"{first.model.name} on {first.system.name} ({first.system.engine.name})", style="bold")
    remarks = traffic.remarks([e.traffic for _, e in rows], source)
    if remarks:
        yield show.pairs(remarks)
    varied = list(rows[0][0])
    open_loop = first.traffic.rate is not None
    own = ("TTFT", "TTFT P90", "TPOT") if open_loop else ("TTFT", "TPOT", "tok/s")
    figures = (*own, "per GPU", "memory", "USD/Mtok", "J/tok")
    lines = [[*(_choice(shown[name]) for name in varied), *_figures(e)] for shown, e in rows]
    last = "" if all(e.feasible for _, e in rows) else "infeasible"
    made = show.table([*(_SHORT.get(name, name) for name in varied), *figures, last], lines, left=0)
    made.padding = (0, 1, 0, 0)
    made.columns[-1].justify, made.columns[-1].no_wrap = "left", False
    yield made
    tokens = "per GPU: output tok/s" if open_loop else "tok/s: output tokens, in all and per GPU"
    yield Text(f"TTFT, TPOT: means; {tokens}; memory: of the fullest GPU; USD/Mtok: of output tokens", style="dim")
    if refused:
        yield show.heading(f"Cannot exist ({len(refused)})")
        for shown, error in refused:
            yield Text(" ".join(f"{name}={_choice(value)}" for name, value in shown.items()) + f": {error}")


def _choice(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _figures(e: Evaluation) -> list[str]:
    m = e.metrics
    used = sum(float(v) for v in e.memory.values()) / float(e.system.chip.memory_bytes)
    failing = [name.replace("_", " ") for name, value in e.constraints.items() if not float(value) <= 0]
    money = ["?" if m[name] is None else show.significant(m[name], 3) for name in ("usd_per_mtok", "joule_per_token")]
    first, each = show.seconds(m["ttft_s"], 3), per_token(e, 3)
    if e.traffic.rate is None:      # of a rate the tokens per second are what was asked
        own = [first, each, show.significant(m["output_tok_s"], 3)]
    else:
        own = [figure.replace(show.UNBOUNDED, "inf") for figure in (first, show.seconds(m["ttft_p90_s"], 3), each)]
    return [*own, show.significant(m["output_tok_s_per_gpu"], 3), f"{100 * used:.0f} %", *money, ", ".join(failing)]
