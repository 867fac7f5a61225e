"""From an evaluated plan to the commands that launch it, and to what no flag of the engine can say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dse.catalogue.calibration import load_engine
from dse.errors import InputError
from dse.launch.engines import UNITS, Engine, Settings, load_launch_engine
from dse.launch.formats import format_settings
from dse.launch.pools import Pool, pools_of
from dse.launch.unsaid import unsaid

Document = Mapping[str, Any]
Group = tuple[str, ...]
_FRACTIONS = ("input_cv2", "output_cv2")


@dataclass(frozen=True, slots=True)
class Target:
    """What the plan is launched for: the checkpoint as the engine is to load it, formats that it is stored in (None:
    nobody knows), devices of one node, the model that drafts (None: drafts are looked up in the text).
    """

    checkpoint: str
    stored: Mapping[str, str] | None = None
    per_node: int | None = None
    drafter: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """`count` servers of `devices` each that one command starts. role: prefill or decode where there are pools.

    groups: the command, a flag and its value together; config: what goes into the engine's own file.
    """

    role: str
    count: int
    devices: int
    groups: tuple[Group, ...]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The command's words."""
        return [word for group in self.groups for word in group]


@dataclass(frozen=True, slots=True)
class Launch:
    """Every server of a plan on one engine. missing: what the plan says and no flag can; remarks: what to know."""

    engine: Engine
    servers: tuple[Server, ...]
    missing: tuple[str, ...]
    remarks: tuple[str, ...]


def launch(document: Document, engine: str, target: Target) -> Launch:
    """The commands of an evaluation document (schema dse.evaluation/1, one plan) for an engine by name.

    Raises InputError for a checkpoint whose name the engine would take for a flag. Whether the plan fits is the
    caller's to check.
    """
    for name in (target.checkpoint, target.drafter or "x"):
        if not name or name.startswith("-") or not name.isprintable():
            raise InputError("checkpoint", f"{name[:60]!r} is no name that a command can take",
                             "expected a hub name or a folder, given by --checkpoint")
    known = load_launch_engine(engine)
    made = [_Writer(document, known, target, pool) for pool in pools_of(document)]
    servers = tuple(writer.server() for writer in made)
    missing = [text for writer in made for text in (*writer.missing, *unsaid(writer.pool.plan))]
    remarks = [text for writer in made for text in writer.remarks]
    remarks += [] if len(made) == 1 else [known.remarks["pools"]]
    return Launch(known, servers, tuple(dict.fromkeys([*missing, *_machine(document)])), tuple(dict.fromkeys(remarks)))


def _machine(document: Document) -> Iterator[str]:
    """Silicon that the search chose, which nobody can order."""
    for name, value in document.get("free", {}).items():
        if value is not None and not str(name).endswith("_offload"):
            yield f"{name} = {value:g}: the machine of the plan is not the catalogue's"


class _Writer:
    """The command of one pool, flag by flag."""

    def __init__(self, document: Document, engine: Engine, target: Target, pool: Pool) -> None:
        self.document, self.engine, self.target, self.pool = document, engine, target, pool
        self.constants = load_engine(document["system"]["engine"])
        self.settings: Settings = {}
        self.missing: list[str] = []
        self.remarks: list[str] = []

    def server(self) -> Server:
        """The server of this pool."""
        p, layout = self.pool, self.engine.layout
        local = self.target.per_node or p.devices * p.groups
        together = _together(p, layout.replicas, local)
        devices = p.devices * together
        self._splits(together)
        self._formats()
        self._batching()
        self._offloads(devices)
        self._drafts()
        self.settings |= getattr(self.engine.pools, p.role) if p.role else {}
        before = self._nodes(devices, local)
        flags, config = _parted(self.settings)
        model = (self.target.checkpoint,) if self.engine.model is None else (self.engine.model, self.target.checkpoint)
        file = ((self.engine.config, f"{p.role or 'engine'}.yaml"),) if config and self.engine.config else ()
        start = (*before, *self.engine.command)
        joined = ((*start, *model),) if self.engine.model is None else (start, model)
        return Server(p.role, p.groups // together, devices, (*joined, *flags, *file), config)

    def _set(self, concept: str, value: object, otherwise: str = "") -> None:
        """The flag of a concept; where the engine has none, what is lost."""
        flag = self.engine.flag(concept)
        if flag is None:
            self.missing += [otherwise] if otherwise else []
        elif flag.name:
            self.settings[flag.name] = "" if flag.switch and flag.name.startswith("-") else \
                "true" if flag.switch else str(value)
            self.settings |= {flag.beside: ""} if flag.beside else {}

    def _splits(self, together: int) -> None:
        p, layout = self.pool, self.engine.layout
        self._set("tp", p.tp if layout.tp == "attention" else p.tp * p.ranks)
        if p.pp > 1:
            self._set("pp", p.pp, f"pp = {p.pp}")
        if p.cp > 1:
            self._set("cp", p.cp, f"cp = {p.cp}: the engine's own splits of a context differ from the plan's, and the "
                                  f"command starts {p.devices // p.cp} of {p.devices} devices")
        if p.ranks > 1:
            self._set("shared_ranks", p.ranks)
            if layout.shared_ranks == "whole" and p.tp > 1:
                self.missing.append(f"attention split over {p.tp} devices in {p.ranks} ranks: the engine gives each "
                                    "device an attention of its own")
        if together > 1:
            self._set("replicas", together)
        if p.ep > 1:
            self._set("experts", p.ep)
            if layout.experts == "all" and p.ep < p.tp * p.ranks:
                self.missing.append(f"experts over {p.ep} devices: the engine spreads them over all {p.tp * p.ranks}")

    def _formats(self) -> None:
        settings, missing = format_settings(self.document, self.pool, self.engine, self.target.stored)
        self.settings |= settings
        self.missing += missing

    def _batching(self) -> None:
        batching, p = self.pool.plan["batching"], self.pool
        budget = int(batching.get("budget") or self.constants.budget)
        policy = batching.get("policy") or self.constants.policy
        if p.role != "prefill":
            self._set("sequences", min(p.sequences(self.document), budget) * self._times("sequences"))
        if p.role != "decode":
            self._set("tokens", budget * self._times("tokens"))
        if not p.role:
            self._set(policy, "", f"policy {policy}: the engine orders prompts and decodes its own way")
        if batching.get("page", 16) != 16:
            self._set("page", batching["page"], f"pages of {batching['page']} tokens")
        self._lengths()
        self._set("memory_share", f"{float(self.constants.memory_share):g}")

    def _lengths(self) -> None:
        traffic = self.document["traffic"]
        if any(traffic.get(name) for name in _FRACTIONS):
            return
        longest = math.ceil(traffic["input_tokens"] + traffic["output_tokens"])
        self._set("context", longest)
        self.remarks.append(f"requests longer than {longest} tokens are refused: the plan's are exactly so long")

    def _times(self, concept: str) -> int:
        """Attention ranks that a server-wide limit counts together."""
        flag = self.engine.flag(concept)
        return self.pool.ranks if flag is not None and flag.per == "server" else 1

    def _offloads(self, devices: int) -> None:
        held = {name: float(size or 0) for name, size in self.document.get("host_memory", {}).items()}
        cache = held.pop("kv", 0.0)
        held.pop("x", None)
        sizes = {"weight_offload": sum(held.values()), "kv_offload": 0.0 if self.pool.role == "prefill" else cache}
        for concept, size in sizes.items():
            if size <= 0:
                continue
            flag, what = self.engine.flag(concept), concept.replace("_offload", "s" if concept[0] == "w" else "")
            unit = UNITS[flag.unit or "B"] if flag else 1
            counted = size * (devices if flag and flag.per == "server" else 1)
            self._set(concept, math.ceil(counted / unit - 1e-9),
                      f"{size / 1e9:.4g} GB of {what} per device in host memory")
            if flag and concept in self.engine.remarks:
                self.remarks.append(self.engine.remarks[concept])

    def _drafts(self) -> None:
        tokens = self.pool.plan.get("chance", {}).get("draft_tokens", 0)
        if not tokens:
            return
        drafter = self.target.drafter
        chosen = self.engine.drafts.ngram if drafter is None else self.engine.drafts.model
        words = {"{tokens}": f"{int(tokens)}", "{checked}": f"{int(tokens) + 1}", "{model}": drafter or ""}
        self.settings |= {flag: words.get(value, value) for flag, value in chosen.items()}
        if drafter is None:
            self.remarks.append(f"drafts of {int(tokens)} tokens are looked up in the text: the plan does not say what "
                                "drafts; --draft-model names a model")

    def _nodes(self, devices: int, local: int) -> Group:
        """Flags, or words before the command, of a server on more than one node."""
        nodes = math.ceil(devices / local)
        if nodes == 1:
            return ()
        if self.engine.nodes:
            words = {"{nodes}": str(nodes), "{devices}": str(devices), "{per_node}": str(local)}
            return tuple(words.get(word, word) for word in self.engine.nodes)
        head = self.engine.flag("head")
        self._set("nodes", nodes, f"{nodes} nodes for one server")
        self._set("node_rank", "NODE_RANK")
        self._set("head", head.form.format(address="HEAD_ADDRESS") if head else "")
        self.remarks.append(f"run it on each of {nodes} nodes: NODE_RANK is its number from 0, HEAD_ADDRESS the first")
        return ()


def _together(pool: Pool, replicas: str, local: int) -> int:
    """Replicas that one server holds: as many as a node has room for and the engine puts behind one address."""
    if replicas == "none" or pool.ranks > 1 or (replicas == "dense" and pool.experts):
        return 1
    return max(n for n in range(1, pool.groups + 1) if pool.groups % n == 0 and (n == 1 or n * pool.devices <= local))


def _parted(settings: Settings) -> tuple[list[Group], dict[str, Any]]:
    """Flags of the command, and the tree of the engine's own file."""
    flags: list[Group] = [(name, value) if value else (name,) for name, value in settings.items()
                          if name.startswith("-")]
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        if not name.startswith("-"):
            *path, last = name.split(".")
            table = tree
            for key in path:
                table = table.setdefault(key, {})
            table[last] = value == "true" if value in ("true", "false") else int(value) if value.isdigit() else value
    return flags, tree
