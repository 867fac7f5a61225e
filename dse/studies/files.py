"""Study and technique files: found by name or path, read, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dse.catalogue.files import read_toml
from dse.catalogue.json_reader import show
from dse.catalogue.paths import find, names
from dse.errors import InputError, nearest
from dse.plan.read import FIELDS
from dse.plan.technique import NOTHING, Technique
from dse.studies.bind import used_names
from dse.studies.equations import find as find_equation
from dse.studies.knobs import read_knobs, read_unknowns
from dse.studies.reading import CONFIGURATION, check_expressions, read_claim, read_derived, read_drawing
from dse.studies.study import Study

FOLDER = "studies/systems"
PUBLISHED = (*CONFIGURATION, "unknown", "derived")
_STUDY = ("kind", "title", "source", "date", "claims", "technique", "knobs", "published", "figures",
          "equations")
_MOST_CLAIMS = 400


def study_names() -> list[str]:
    """Studies of the catalogue."""
    return names(FOLDER)


def load_study(name_or_path: str | Path) -> Study:
    """A study by its name or from its file."""
    path, document = _document(name_or_path)
    where = str(path)
    if document.get("kind") != "study":
        raise InputError(f"{where}: kind", f"is {show(document.get('kind'))}, expected 'study'")
    _known(document, _STUDY, where)
    technique = _technique(path, document, document.get("technique", {}))
    published = _published(document.get("published", {}), where)
    unknown = read_unknowns(published.get("unknown", {}), f"{where}: published.unknown")
    both = sorted(set(unknown) & set(technique.knobs))
    if both:
        raise InputError(f"{where}: published.unknown.{both[0]}", "is a knob too, expected another name")
    free = {**technique.knobs, **unknown}
    derived = {name: read_derived(name, raw, f"{where}: published.derived.{name}", free)
               for name, raw in _subtable(published, "derived", f"{where}: published").items()}
    drawn = _list(document, "figures", where)
    study = Study(
        path.stem, technique.title, technique.source, where, technique,
        tuple(read_claim(raw, f"{where}: claims[{i}]", free, tuple(derived))
              for i, raw in enumerate(_list(document, "claims", where))),
        {k: v for k, v in published.items() if k not in ("unknown", "derived")}, unknown, derived,
        tuple(read_drawing(raw, f"{where}: figures[{i}]", free, tuple(derived)) for i, raw in enumerate(drawn)),
        tuple(find_equation(str(name), f"{where}: equations[{i}]").name
              for i, name in enumerate(_list(document, "equations", where))))
    _check_names(study, document)
    return study


def load_technique(name_or_path: str | Path) -> Technique:
    """A technique by name or file: a study's, a bare partial plan's (`kind = "technique"`), or a plan file's.

    A study's unknowns that its technique uses become knobs, at the middle of their range.
    """
    if str(name_or_path) == NOTHING.name:
        return NOTHING
    path, document = _document(name_or_path)
    where = str(path)
    kind = document.get("kind", "plan")
    if kind == "study":
        study = load_study(path)
        used = used_names(study.technique.fields)
        extra = {name: replace(knob, default=knob.middle()) for name, knob in study.unknown.items() if name in used}
        return replace(study.technique, knobs={**study.technique.knobs, **extra})
    if kind not in ("technique", "plan"):
        raise InputError(f"{where}: kind", f"is {show(kind)}, expected 'technique' or 'study'")
    own = ("kind", "title", "source", "knobs")
    _known(document, (*own, *FIELDS), where)
    return _technique(path, document, {key: value for key, value in document.items() if key not in own}, "")


def study_file(name_or_path: str | Path) -> Path:
    """The file of a study, a technique or a plan."""
    text = os.fspath(name_or_path)
    path = Path(text) if text.endswith(".toml") or os.sep in text else find(FOLDER, text)
    if not path.is_file():
        raise InputError(text[:200], "is not a file", "expected a study, a technique or a plan file (.toml)")
    return path


def _document(name_or_path: str | Path) -> tuple[Path, dict[str, Any]]:
    path = study_file(name_or_path)
    return path, read_toml(path)


def _known(document: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in document:
        if key not in keys:
            raise InputError(f"{where}: {key[:80]}", "no such key", nearest(key, keys))


def _technique(path: Path, document: Mapping[str, Any], fields: object, table: str = "technique") -> Technique:
    where = str(path)
    study = document.get("kind") == "study"
    for key in ("title", "source"):
        text = document.get(key, "" if not study else None)
        if not isinstance(text, str) or (study and not text.strip()):
            raise InputError(f"{where}: {key}", "missing, expected a line of text")
    if not isinstance(fields, Mapping):
        raise InputError(f"{where}: technique", f"is {show(fields)}, expected a partial plan")
    place = f"{where}: {table}" if table else f"{where}: "
    for key in fields:
        if key not in FIELDS:
            raise InputError(f"{place}.{key}".replace(": .", ": "), "no such field of a plan", nearest(key, FIELDS))
    check_expressions(fields, place)
    knobs = read_knobs(document.get("knobs", {}), f"{where}: knobs")
    return Technique(path.stem, document.get("title", ""), document.get("source", ""), fields, knobs, place)


def _published(raw: object, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise InputError(f"{where}: published", f"is {show(raw)}, expected a table")
    for key in raw:
        if key not in PUBLISHED:
            raise InputError(f"{where}: published.{key}", "no such key", nearest(key, PUBLISHED))
    for key in ("device", "traffic", "plan"):
        check_expressions(_subtable(raw, key, f"{where}: published"), f"{where}: published.{key}")
    return raw


def _subtable(raw: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    table = raw.get(key, {})
    if not isinstance(table, Mapping):
        raise InputError(f"{where}.{key}", f"is {show(table)}, expected a table")
    return table


def _list(document: Mapping[str, Any], key: str, where: str) -> list[Any]:
    entries = document.get(key, [])
    if not isinstance(entries, list) or len(entries) > _MOST_CLAIMS:
        raise InputError(f"{where}: {key}", f"is {show(entries)}, expected a list of at most {_MOST_CLAIMS} tables")
    return entries


def _check_names(study: Study, document: Mapping[str, Any]) -> None:
    """A knob, unknown or derived number that nothing uses would be without effect: refused."""
    closed = {name for knob in study.technique.knobs.values() if knob.closed for name in knob.closed.names}
    used = used_names(document) | closed
    for name, knob in study.free.items():
        if name not in used:
            table = "knobs" if knob.default is not None else "published.unknown"
            raise InputError(f"{study.file}: {table}.{name}", "is used by no expression",
                             f'"={name}" somewhere in technique, device, traffic or plan')
    for name in study.derived:
        if name not in used:
            raise InputError(f"{study.file}: published.derived.{name}", "is used by no expression")
