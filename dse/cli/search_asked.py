"""What a search was asked for: its options, laid over its file, as a space and an aim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dse.catalogue.calibration import engine_names
from dse.catalogue.models import load_model
from dse.catalogue.systems import COST_BASES, load_system
from dse.cli import parse
from dse.errors import InputError, nearest
from dse.model.metrics import METRICS, metric
from dse.model.money import missing_price, usd_per_device_hour
from dse.model.system import System
from dse.plan.traffic import LOADS
from dse.search.grid import LIMITS, Aim
from dse.search.sizing import enough, objectives
from dse.search.space import Space, make_space
from dse.search.variables import Choice
from dse.search.variant import NEUTRAL, Variant
from dse.studies.files import load_technique
from dse.studies.searches import FLAGS, SearchFile, find_search
from dse.studies.variants import make_variants, read_choices

USERS = tuple(sorted({float(n) for power in range(11) for n in (2**power, 3 * 2**power // 2)}))
"""Concurrencies of a search that was given no load: 1, 2, 3, 4, 6, 8, ..., powers of two and halfway between."""
OBJECTIVES = ("usd_per_mtok", "tpot_s")
MOST_OBJECTIVES = 5
_DEFAULTS: Mapping[str, Any] = {
    "engine": "vllm", "cost": "owned", "arrival_cv2": 1.0, "peak_to_mean": 1.0, "input_cv2": 0.0, "output_cv2": 0.0,
    "cp": (1.0,),
    "weights": (None,), "kv": (None,), "trials": 200.0, "seed": 0.0, "objective": OBJECTIVES,
    "memory": "512 MiB", "sampler": "tpe", "workers": 1.0}
_TEXTS = ("hardware", "engine", "cost", "memory", "storage", "study", "sampler")
_LISTS = ("weights", "kv", "cp", *LOADS)
_POSITIVE = {"low": 1e-6, "high": 1e12, "whole": False, "choices": (), "optional": False}
_NUMBERS: Mapping[str, Mapping[str, Any]] = {
    "gpus": parse.RULES["gpus"], "usd_per_gpu_hour": parse.PRICE, **dict.fromkeys(LIMITS, _POSITIVE),
    "trials": {"low": 1.0, "high": 1e9, "whole": True, "choices": (), "optional": False},
    "seed": {"low": 0.0, "high": 2.0**32 - 1, "whole": True, "choices": (), "optional": False},
    "workers": {"low": 1.0, "high": 1024.0, "whole": True, "choices": (), "optional": False},
    **{name: parse.RULES[name] for name in ("input_tokens", "output_tokens", "arrival_cv2", "peak_to_mean", "input_cv2",
                                            "output_cv2")}}
Asked = dict[str, Any]


def read_asked(model: str, options: Mapping[str, str | None], objectives: Sequence[str] | None,
               techniques: Sequence[str], knobs: Sequence[str]) -> Asked:
    """Every cell of a search: from the options, else from the file that MODEL names, else its default."""
    file = find_search(model) or SearchFile("", {"model": model})
    given = {name: _cell(name, text) for name, text in options.items() if text is not None}
    loads = [name for name in LOADS if name in given]
    if len(loads) > 1:
        raise InputError("traffic", f"got {' and '.join(map(parse.option, loads))}, expected at most one of them")
    if objectives:
        given["objective"] = tuple(dict.fromkeys(objectives))
    held = {name: cell for name, cell in file.cells.items() if not (loads and name in LOADS)}
    asked = {**_DEFAULTS, **held, **given}
    for name in ("hardware", "input_tokens", "output_tokens"):
        if name not in asked:
            raise InputError(parse.option(name), "is missing", "give it, or name a search file that has it")
    asked["file"] = {name: file.file for name in held if name not in given}
    asked["techniques"] = _overruled(file.techniques, _modes(techniques))
    asked["knobs"] = {**file.knobs, **{name: (_values(text), f"--knob {name}") for name, text in parse.assignments(
        knobs, "--knob", 'such as kv_split.share=0,0.5 or "l2=1 MiB..200 MiB:200"').items()}}
    return asked


def _cell(name: str, text: str) -> Any:
    if name in FLAGS:
        return True
    if name == "hardware" and "," in text and not Path(text).is_file():
        return tuple(dict.fromkeys(item.strip() for item in text.split(",")))
    if name in _TEXTS:
        return text
    if name in _LISTS:
        return parse.comma_list(text, name)
    if name == "free":
        names = [item.strip() for item in text.split(",")]
        return [] if names == ["none"] else names
    return float(parse.item(text, parse.option(name), _NUMBERS[name]))


def _modes(texts: Sequence[str]) -> dict[str, str]:
    """Names of techniques, each tried off and on, or as it says after "="."""
    made: dict[str, str] = {}
    for text in texts:
        name, equals, mode = text.rpartition("=")
        if not equals or Path(text).is_file():
            name, mode = text, "off or on"
        if mode not in ("on", "off", "off or on") or not name:
            raise InputError("--technique", f"{text[:60]!r} is not NAME or NAME=on", nearest(mode, ("on", "off")))
        if name in made:
            raise InputError("--technique", f"{name[:60]!r} is given twice, expected once")
        made[name] = mode
    return made


def _overruled(held: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Techniques of a file with the modes that options give; a technique in a file of its own goes by its stem."""
    made = {_stem(name): (name, mode) for name, mode in held.items()}
    for name, mode in given.items():
        known = made.get(name)
        made[_stem(name)] = (name if known is None else known[0], mode)
    return dict(made.values())


def _stem(name: str) -> str:
    return Path(name).stem if name.endswith(".toml") else name


def _values(text: str) -> object:
    """The values of a knob as a file would have them: a list, or a table of low, high and points."""
    if ".." not in text:
        return [_figure(item) for item in text.split(",")]
    low, _, rest = text.partition("..")
    high, colon, points = rest.partition(":")
    return {"low": _figure(low), "high": _figure(high), **({"points": _figure(points)} if colon else {})}


def _figure(text: str) -> object:
    value = parse.literal(text.strip())
    return value if isinstance(value, str) else float(value) if not float(value).is_integer() else int(value)


def make_search(asked: Asked) -> tuple[tuple[Space, ...], Aim]:
    """The spaces, one for each machine, and the aim of what was asked."""
    systems = _systems(asked)
    load = next((name for name in LOADS if name in asked), "concurrency")
    model, aim = load_model(asked["model"]), _aim(asked, systems, load)
    variants: Sequence[Variant] = (NEUTRAL,)
    chosen: Mapping[str, Choice] = {}
    if asked["techniques"] or asked["knobs"]:
        techniques = {name: (load_technique(name), mode) for name, mode in asked["techniques"].items()}
        _check_names([technique.name for technique, _ in techniques.values()])
        on = [technique for technique, mode in techniques.values() if mode != "off"]
        off = {technique.name for technique, mode in techniques.values() if mode == "off"}
        said = read_choices({name: (raw, where) for name, (raw, where) in asked["knobs"].items()
                             if where.startswith("--knob") or name.partition(".")[0] not in off}, on)
        variants, chosen = make_variants(techniques, said), said.machine

    def made(system: System, gpus: int, every_count: bool = False) -> Space:
        return make_space(
            model, system, gpus=gpus, load=load, loads=asked.get(load, USERS), input_tokens=asked["input_tokens"],
            output_tokens=asked["output_tokens"], arrival_cv2=asked["arrival_cv2"], input_cv2=asked["input_cv2"],
            output_cv2=asked["output_cv2"], weights=asked["weights"], kv=asked["kv"],
            cp=[int(n) for n in asked["cp"]], free=asked.get("free"), trials=int(asked["trials"]), chosen=chosen,
            variants=variants, peak_to_mean=asked["peak_to_mean"], every_count=every_count)

    if not asked.get("min_gpus"):
        return tuple(made(s, int(asked.get("gpus", s.node.gpus_per_node))) for s in systems), aim
    most = [int(asked["gpus"]) if "gpus" in asked else enough(partial(made, s), aim, s.node.gpus_per_node)
            for s in systems]
    return tuple(made(s, gpus, every_count=True) for s, gpus in zip(systems, most, strict=True)), aim


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError("--technique", f"{name!r} is the name of two files, expected one of each")


def _place(asked: Asked, name: str, key: str) -> str:
    """Where a cell was written: an option, or a key of the file."""
    file = asked["file"].get(name)
    return f"{file}: {key}" if file else parse.option(name)


def _systems(asked: Asked) -> list[System]:
    """The machines with one device each; each plan says how many it has."""
    engine, cost = asked["engine"], asked["cost"]
    if engine not in engine_names():
        raise InputError(_place(asked, "engine", "engine"), f"no such engine: {engine[:60]!r}",
                         nearest(engine, engine_names()))
    if cost not in COST_BASES:
        raise InputError(_place(asked, "cost", "cost"), f"no such basis: {cost[:60]!r}", nearest(cost, COST_BASES))
    names = [asked["hardware"]] if isinstance(asked["hardware"], str) else asked["hardware"]
    return [load_system(name, 1, engine, cost, asked.get("usd_per_gpu_hour")) for name in names]


def _aim(asked: Asked, systems: Sequence[System], load: str) -> Aim:
    """Objectives that can be had on every machine, and limits in s."""
    names, where = asked["objective"], _place(asked, "objective", "objectives")
    _check_sizing(asked, load)
    if asked.get("min_gpus"):
        priced = all(usd_per_device_hour(system) is not None for system in systems)
        names = objectives(None if tuple(names) == OBJECTIVES else names, priced)
    if len(names) > MOST_OBJECTIVES:
        raise InputError(where, f"{len(names)} objectives, expected at most {MOST_OBJECTIVES}")
    for name in names:
        for system in systems:
            _check_objective(system, name, asked["output_tokens"], where)
        _check_known(f"{where} {name}", name, load)
    limits = {name: asked[name] for name in LIMITS if name in asked}
    for name in limits:
        _check_known(_place(asked, name, f"limits.{name}"), LIMITS[name], load)
    return Aim(names, {name: (LIMITS[name], value / 1e3) for name, value in limits.items()})


def _check_sizing(asked: Asked, load: str) -> None:
    """A size follows from one rate; a peak belongs to a rate."""
    if asked.get("min_gpus") and (load != "rate" or len(asked["rate"]) != 1):
        raise InputError(_place(asked, "min_gpus", "min_gpus"), "sizes a deployment for one rate, expected --rate with "
                         "one value")
    if asked["peak_to_mean"] != 1 and load != "rate":
        raise InputError(_place(asked, "peak_to_mean", "traffic.peak_to_mean"),
                         f"changes nothing with {parse.option(load)}, expected --rate")


def _check_known(where: str, name: str, load: str) -> None:
    """Quantiles and saturation are known of a rate only, and goodput needs targets too."""
    if METRICS[name].rate_only and load != "rate":
        raise InputError(where, f"the {METRICS[name].title} is known for a rate only", "give --rate")
    if name == "goodput_requests_s":
        raise InputError(where, "a search takes no targets to count requests by", "limit --ttft-p90-ms instead")


def _check_objective(system: System, name: str, output_tokens: float, where: str) -> None:
    aim = metric(name, where)
    if aim.better == 0:
        aims = [m for m in METRICS if METRICS[m].better]
        raise InputError(where, f"neither more nor less {name} is an aim", f"choose from {', '.join(aims)}")
    if aim.money and usd_per_device_hour(system) is None:
        raise InputError(f"{where} {name}", missing_price(system))
    if aim.needs and getattr(system.chip, aim.needs) is None:
        lacks = {"tdp_w": "power", "die_mm2": "die area"}[aim.needs]
        raise InputError(f"{where} {name}", f"the catalogue has no {lacks} for {system.chip.name}",
                         "choose another objective or chip")
    if name.startswith("tpot_") and output_tokens == 1:
        raise InputError(f"{where} {name}", "one output token has no time between tokens",
                         "--objective usd_per_mtok --objective ttft_s")
