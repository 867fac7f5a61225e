"""The parts of a result.json that a report reads, with their bounds. Keys beyond these are let pass."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from dse.model.metrics import METRICS

SCHEMA = "dse.result/1"
MOST_POINTS, MOST_STEPS = 5000, 5000

NotNegative = Annotated[FiniteFloat, Field(ge=0)]
Charged = FiniteFloat
"""Seconds that are charged: negative where an operation that waits less would leave less time to hide others behind."""
Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(max_length=100_000)]
Scalar = bool | FiniteFloat | Text | None
Names = Annotated[list[Text], Field(max_length=100)]
Format = Scalar | dict[str, Scalar] | list[Scalar | dict[str, Scalar]]
"""A number format by name, or one with forms on top."""


Interval = Annotated[list[FiniteFloat | None], Field(min_length=2, max_length=2)]
"""Low and high end."""


class Part(BaseModel):
    """A table of the file: no silent conversion of types."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Search(Part):
    """What was asked."""

    model: Text
    hardware: Text
    gpus: Scalar | list[Scalar] = None
    engine: Text | None = None
    traffic: dict[str, Scalar | list[Scalar]]
    objectives: Annotated[Names, Field(min_length=1)]
    limits: dict[str, NotNegative | None]
    free: dict[str, dict[str, Scalar]] | Names = []
    trials: Scalar = None
    interrupted: bool = False
    seed: Scalar = None
    command: Text | None = None
    question: Text | None = None
    title: Text | None = None
    variants: Annotated[list[Text], Field(max_length=1000)] = []


class Counts(Part):
    """How many plans were looked at, and what became of them."""

    considered: Count
    feasible: Count
    rejected: dict[str, Count]


class Regret(Part):
    """How far the found plan is from the exact grid's best."""

    value: FiniteFloat | None = None
    text: Text


class ModelPart(Part):
    """The model of a plan."""

    name: Text


class SystemPart(Part):
    """The ceilings of a roofline."""

    name: Text
    peaks: dict[str, NotNegative | None]
    memory_bandwidth: NotNegative | None
    cache_bandwidth: NotNegative | None
    engine: Text | None = None
    die_mm2: NotNegative | None = None


class Splits(Part):
    """How many ways a plan splits a model."""

    tp: NotNegative = 1
    pp: NotNegative = 1
    dp: NotNegative = 1
    ep: NotNegative = 1
    cp: NotNegative = 1


class PlanPart(Part):
    """What a plan is told by."""

    formats: dict[str, Format]
    placement: dict[str, dict[str, Scalar]] = {}
    parallelism: Splits


class Charge(Part):
    """Seconds of a phase charged to an operation and a resource."""

    phase: Text
    op: Text
    resource: Text
    seconds: Charged


class Work(Part):
    """What an operation does in a phase."""

    phase: Text
    op: Text
    flops: NotNegative | None
    bytes: NotNegative | None
    seconds: Charged | None


class Bar(Part):
    """Seconds of a layer on which an operation runs or keeps a resource busy."""

    op: Text
    lane: Text
    start: NotNegative
    seconds: NotNegative
    behind: Text = ""


class Curve(Part):
    """A technique's metrics along a variable; null where its plan does not fit."""

    technique: Text
    metrics: dict[str, Annotated[list[FiniteFloat | None], Field(max_length=MOST_STEPS)]]


class Curves(Part):
    """A variable, its values, and a curve for each technique."""

    variable: Text
    unit: Text = ""
    values: Annotated[list[FiniteFloat], Field(max_length=MOST_STEPS)]
    curves: Annotated[list[Curve], Field(max_length=100)]


class Slack(Part):
    """By which share of its bound a constraint is missed; negative what is left."""

    name: Text
    excess: FiniteFloat | None


class Answers(Part):
    """What a search says of its first plan."""

    id: Count = 0
    constraints: Annotated[list[Slack], Field(max_length=100)] = []
    elasticities: dict[str, dict[str, FiniteFloat | None]] = {}


class Landmark(Part):
    """A catalogued chip with the chosen plan."""

    name: Text
    die_mm2: NotNegative | None = None
    metrics: dict[str, FiniteFloat | None]


class Member(Part):
    """A plan of the front: an evaluation document with its number, and what the search chose: values, techniques that
    are on, their knobs."""

    id: Count
    free: dict[str, Scalar] = {}
    techniques: Names = []
    knobs: dict[str, Scalar] = {}
    model: ModelPart
    system: SystemPart
    plan: PlanPart
    traffic: dict[str, Scalar]
    metrics: dict[str, FiniteFloat | None]
    intervals: dict[str, Interval] = {}
    usd_per_hour: dict[str, FiniteFloat | None] | None = None
    layer: Annotated[list[Bar], Field(max_length=10_000)] = []
    memory: dict[str, NotNegative | None]
    memory_capacity: NotNegative | None
    host_memory: dict[str, NotNegative | None]
    constraints: dict[str, FiniteFloat | None]
    feasible: bool
    breakdown: Annotated[list[Charge], Field(max_length=10_000)]
    work: Annotated[list[Work], Field(max_length=10_000)]


class Points(Part):
    """Feasible plans that others beat, one a row."""

    columns: Names
    rows: Annotated[list[list[Scalar]], Field(max_length=MOST_POINTS)]


class Density(Part):
    """Feasible plans by cell of the plane of two metrics: (place, place, plans), an edge is 10^(place/per_decade)."""

    x: Text
    y: Text
    per_decade: Annotated[int, Field(ge=1, le=1000)]
    cells: Annotated[list[Annotated[list[Annotated[int, Field(ge=-10_000)]], Field(min_length=3, max_length=3)]],
                     Field(max_length=MOST_POINTS)]


class Result(Part):
    """A result.json; schema and version are checked before the rest."""

    search: Search
    counts: Counts
    regret: Regret | None = None
    front: Annotated[list[Member], Field(max_length=10_000)]
    front_points: Count | None = None
    chosen: int | None
    notes: Names = []
    points: Points | None = None
    front_table: Points | None = None
    density: Density | None = None
    curves: Annotated[list[Curves], Field(max_length=100)] = []
    landmarks: Annotated[list[Landmark], Field(max_length=1000)] = []
    answers: Answers | None = None
    commands: Annotated[list[Text], Field(max_length=10_000)] = []
    sweep: Annotated[list[dict[str, Scalar | dict[str, Scalar]]], Field(max_length=10_000)] | None = None
    seconds: dict[str, Scalar] | None = None


def needed_metrics(document: Result) -> list[tuple[str, str]]:
    """Where a result names a metric that must be registered, and the name."""
    named = [(f"search.objectives[{i}]", name) for i, name in enumerate(document.search.objectives)]
    return named + [(f"search.limits.{name}", name) for name in document.search.limits if name not in METRICS]
