"""How a serving engine's own flags say what a plan says: a file for each engine, each flag with where it stands."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dse.catalogue.files import read_toml, validate
from dse.catalogue.paths import find, names
from dse.errors import InputError, nearest

FOLDER = "hardware/engines"
UNITS = {"B": 1, "GB": 10**9, "GiB": 2**30}
Text = Annotated[str, Field(min_length=1, max_length=400)]
Settings = dict[Text, str]
"""Flags (or keys of the engine's file) and their values."""


class Part(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Layout(Part):
    """What the engine's splits count.

    tp: the devices of one attention rank, or all of a server. shared_ranks: attention ranks that share experts: any
    number of them, or only with each attention held whole by one device. experts: spread over all devices of a server
    or any number of them. replicas: whether one server holds several copies of any model, of a dense one, or none.
    """

    tp: Literal["attention", "server"]
    shared_ranks: Literal["any", "whole"]
    experts: Literal["all", "any"]
    replicas: Literal["any", "dense", "none"]


class Flag(Part):
    """A flag of the command; a name without dashes is a key of the engine's own file. `file`: where its parser or class
    stands in the engine's sources. An empty name says that the engine does so without being asked.

    unit and per: of a size. with: a flag that it needs beside it. form: how an address is written.
    """

    name: str = ""
    file: Text
    switch: bool = False
    unit: Literal["B", "GB", "GiB"] | None = None
    per: Literal["device", "server"] = "device"
    beside: Text | None = Field(default=None, alias="with")
    form: Text = "{address}"


class Drafts(Part):
    """Settings of speculative decoding: drafts looked up in the text, and drafts of a model."""

    ngram: Settings
    model: Settings


class Roles(Part):
    """Settings of a server that only prefills, or only decodes."""

    prefill: Settings
    decode: Settings


class Engine(Part):
    """An engine's launch command at one version, from one source."""

    kind: Literal["launch"]
    title: Text
    version: Text
    source: Text
    checked: date
    command: list[Text]
    model: Text | None = None
    config: Text | None = None
    nodes: list[Text] = []
    layout: Layout
    flags: dict[str, Flag]
    weights: dict[str, Text]
    kv: dict[str, Text]
    drafts: Drafts
    pools: Roles
    remarks: dict[str, Text]

    def flag(self, concept: str) -> Flag | None:
        """The flag of a concept, None where the engine has none."""
        return self.flags.get(concept)


def launch_engines() -> list[str]:
    """Engines whose launch commands are known."""
    return names(FOLDER)


@cache
def load_launch_engine(name: str) -> Engine:
    """The flags of an engine by name."""
    if name not in launch_engines():
        raise InputError("--engine", f"no launch command is known for {name[:60]!r}", nearest(name, launch_engines()))
    path = find(FOLDER, name)
    return validate(Engine, read_toml(path), str(path))
