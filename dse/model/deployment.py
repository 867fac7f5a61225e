"""A plan resolved against a model and a system: how each thing is split, in which format, on how many devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.equations.num import Number, maximum
from dse.errors import InputError
from dse.model.architecture import Mixer, MixtureOfExperts, Model, RecurrentMixer
from dse.model.kept import Kept, kept_objects
from dse.model.system import System
from dse.plan.formats import usual_activations
from dse.plan.forms import Formats
from dse.plan.plan import Plan, devices, specialised, with_parallelism


@dataclass(frozen=True, slots=True)
class Deployment:
    """tp, pp, dp, ep, cp as numbers or arrays; `formats` without gaps; `gpus` = tp pp dp cp devices.

    system: with the shares of its engines, memories and links that the plan leaves to the model. kept: how each object
    is kept. prompts: the pool that computes prompts where there are two; this one decodes.
    """

    model: Model
    system: System
    plan: Plan
    formats: Formats
    tp: Number
    pp: Number
    dp: Number
    ep: Number
    cp: Number
    kept: Mapping[str, Kept]
    prompts: Deployment | None = None

    def reshaped(self, name: str) -> Kept | None:
        """How an object is kept, where a plan changes more than the name of its number format or may hide its bytes."""
        return self.kept[name] if name in self.plan.formats.forms or self.plan.prefetches else None

    @property
    def micro(self) -> Number:
        """Micro-batches of an iteration: the plan's, or one a pipeline stage."""
        micro = self.plan.batching.micro
        return self.pp if micro is None else micro

    @property
    def gpus(self) -> Number:
        """Devices of the deployment."""
        own = self.tp * self.pp * self.dp * self.cp
        return own if self.prompts is None else own + self.prompts.gpus

    @property
    def prefills(self) -> Deployment:
        """Where prompts are computed."""
        return self if self.prompts is None else self.prompts

    @property
    def prefill_engines(self) -> Number | None:
        """Engines that only compute prompts; None where every engine does both."""
        return self.plan.pools.prefill if self.prompts is None else self.prompts.dp

    @property
    def decode_engines(self) -> Number:
        """Engines that decode: all, or those outside the prefill pool."""
        pool = self.plan.pools.prefill
        return self.dp if pool is None else self.dp - pool

    @property
    def expert_ranks(self) -> Number:
        """Devices that share one copy of the routed experts of a layer."""
        return maximum(self.tp, self.ep)

    @property
    def expert_tp(self) -> Number:
        """Ways each routed expert is split."""
        return self.expert_ranks / self.ep

    @property
    def feeders(self) -> Number:
        """Attention ranks (of tp devices each) whose tokens meet in one expert group."""
        return self.expert_ranks / self.tp


def deploy(model: Model, system: System, plan: Plan) -> Deployment:
    """Resolve and check; raises InputError for splits that cannot exist."""
    if plan.pools.members:
        return _pooled(model, system, plan)
    par = plan.parallelism
    per_replica = par.tp * par.pp * par.cp
    _check_heads(model, par.tp)
    gpus = np.asarray(system.gpus)
    dp = gpus / per_replica if par.dp is None else par.dp
    whole = np.broadcast_arrays(np.asarray(dp * per_replica), gpus)
    if np.any(np.asarray(dp) != np.round(dp)) or np.any(whole[0] != whole[1]):
        raise InputError("parallelism", f"tp x pp x dp x cp does not use all {_text(gpus)} devices: "
                         f"tp={_text(par.tp)} pp={_text(par.pp)} dp={_text(dp)} cp={_text(par.cp)}",
                         "choose splits whose product is the number of devices")
    formats = _formats(model, plan.formats)
    d = Deployment(model, _shared(system, par.shares), plan, formats, par.tp, par.pp, _plain(dp), par.ep, par.cp,
                   kept_objects(formats))
    _check_splits(d)
    return d


def _pooled(model: Model, system: System, plan: Plan) -> Deployment:
    """The pool that decodes, with the pool that computes prompts beside it; each is a plan of its own."""
    made = {}
    for name, pool in plan.pools.members.items():
        own = specialised(plan, pool.fields, f"pools.{name}")
        if "dp" in pool.fields.get("parallelism", {}):
            raise InputError(f"pools.{name}.parallelism.dp", "the instances of a pool are its count", "leave dp out")
        counted = replace(own.parallelism, dp=pool.count)
        one = with_parallelism(own, counted)
        made[pool.serves] = deploy(model, replace(system, gpus=devices(one)), one)
    together = replace(made["decode"], prompts=made["prefill"])
    if np.any(np.asarray(together.gpus) != system.gpus):
        raise InputError("pools", f"use {_text(together.gpus)} devices of {_text(system.gpus)}",
                         "choose counts and splits that use all")
    return together


def _shared(system: System, shares: Mapping[str, Number]) -> System:
    """The system with the part of its compute, memories and links that the model may use."""
    used = {name: shares[name] for name in ("compute", "hbm", "host", "sum") if name in shares}
    if not used:
        return system
    chip, host = system.chip, system.node.host
    compute, memory, link = (used.get(name, 1.0) for name in ("compute", "hbm", "sum"))
    chip = replace(chip, peak={name: rate * compute for name, rate in chip.peak.items()},
                   memory_bandwidth=chip.memory_bandwidth * memory,
                   scale_up=replace(chip.scale_up, bandwidth=chip.scale_up.bandwidth * link))
    if host is not None and "host" in used:
        host = replace(host, link_bandwidth=host.link_bandwidth * used["host"],
                       memory_bandwidth=host.memory_bandwidth * used["host"])
    return replace(system, node=replace(system.node, chip=chip, host=host))


def _formats(model: Model, asked: Formats) -> Formats:
    """The plan's formats, the checkpoint's where the plan is silent, activations to suit the weights."""
    def pick(name: str) -> Any:
        value = getattr(asked, name)
        return model.formats.get(name, "bf16") if value is None else value

    if asked.activations is not None:
        activations = asked.activations
    elif asked.mlp_weights is None:
        activations = pick("activations")
    else:
        activations = usual_activations(asked.mlp_weights)
    return Formats(pick("attention_weights"), pick("mlp_weights"), pick("expert_weights"), pick("embedding"),
                   pick("kv"), activations, asked.forms)


def _check_heads(model: Model, tp: Number) -> None:
    for mixer in mixers(model):
        if np.any(mixer.heads % np.asarray(tp)):
            what = "heads" if isinstance(mixer, RecurrentMixer) else "query heads"
            raise InputError("parallelism.tp", f"{_text(tp)} does not divide the {mixer.heads} {what} of "
                             f"{model.name}", f"these do: {', '.join(map(str, divisors(mixer.heads)))}")


def _check_splits(d: Deployment) -> None:
    if np.any(np.asarray(d.pp) > d.model.depth):
        raise InputError("parallelism.pp", f"{_text(d.pp)} stages for {d.model.depth} layers of {d.model.name}",
                         f"use at most {d.model.depth}")
    prefill = d.plan.pools.prefill
    if prefill is not None and np.any(np.asarray(prefill) >= d.dp):
        raise InputError("pools.prefill", f"{_text(prefill)} of {_text(d.dp)} replicas leave none to decode",
                         "raise dp or lower it")
    if np.any(np.asarray(d.ep) > 1):
        _check_experts(d)


def _check_experts(d: Deployment) -> None:
    experts = [g.feedforward.experts for g in d.model.layers if isinstance(g.feedforward, MixtureOfExperts)]
    if not experts:
        raise InputError("parallelism.ep", f"{d.model.name} has no experts to spread", "leave ep at 1")
    if np.any(np.asarray(d.ep) > min(experts)):
        raise InputError("parallelism.ep", f"{_text(d.ep)} ranks for {min(experts)} experts",
                         f"use at most {min(experts)}")
    if not np.all(valid_expert_split(d.tp, d.dp, d.ep, d.cp)):
        raise InputError("parallelism.ep", f"ep={_text(d.ep)} fits neither inside tp={_text(d.tp)} nor over whole "
                         f"dp ranks (dp={_text(d.dp)})", "ep must divide tp, or be tp times a divisor of dp x cp")


def valid_expert_split(tp: Number, dp: Number, ep: Number, cp: Number) -> Number:
    """Whether expert groups of ep ranks line up with the attention ranks."""
    inside = (np.asarray(tp) % ep) == 0
    ranks = np.asarray(ep) / tp
    over = (ranks == np.round(ranks)) & (ranks >= 1) & ((np.asarray(dp) * cp) % np.maximum(np.round(ranks), 1) == 0)
    return inside | over


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [n for n in range(1, number + 1) if number % n == 0]


def mixers(model: Model) -> Iterator[Mixer]:
    """The mixer of every kind of layer that has one."""
    for group in model.layers:
        if group.mixer is not None:
            yield group.mixer


def _plain(value: Number) -> Number:
    return float(value) if np.ndim(value) == 0 else value


def _text(value: Number) -> str:
    flat = np.unique(np.asarray(value, dtype=float))
    return ",".join(f"{v:g}" for v in flat[:6]) + (",..." if flat.size > 6 else "")
