"""Study files: what they may say, the verdicts, joint settings, optima and calibrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.errors import InputError
from dse.plan.expressions import parse
from dse.plan.technique import NOTHING, Knob, Technique
from dse.plan.traffic import Traffic
from dse.studies.bind import bound_plan
from dse.studies.files import load_study, load_technique, study_names
from dse.studies.optimum import Axes, best
from dse.studies.reproduce import Verdicts, document, reproduce
from dse.studies.run import Bench, Side

HEAD = 'kind = "study"\ntitle = "KV in host memory"\nsource = "a test"\n'
PUBLISHED = """
[published]
model = "llama-3.1-8b"
hardware = "h100_sxm"
device = { chip.memory_bandwidth = "=rate" }
traffic = { input_tokens = 1024, output_tokens = 256, batch = "=sequences" }
[published.unknown]
rate = { low = "2 TB/s", high = "4 TB/s", points = 9, why = "not given" }
"""
TECHNIQUE = """
[technique]
placement.kv = { host = "=away" }
[knobs]
away = { low = 0.0, high = 0.5, points = 6, default = 0.0 }
sequences = { values = [8, 32], default = 8 }
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A study file made of claims (TOML of one table each) and the rest."""
    def made(*claims: str, technique: str = TECHNIQUE, published: str = PUBLISHED, head: str = HEAD) -> Path:
        path = tmp_path / "tiny.toml"
        listed = "claims = [\n" + "".join(f"{c},\n" for c in claims) + "]\n"
        path.write_text(head + listed + technique + published, "utf-8")
        return path

    return made


def judged(path: Path) -> Verdicts:
    """The verdicts of a file."""
    return reproduce(load_study(path))


def step(path: Path, **values: float) -> float:
    """The decode step of the study's technique, for numbers."""
    study = load_study(path)
    bound = {"away": 0.0, "sequences": 8.0, "rate": 3e12, **values}
    e = Bench(study).evaluation(Side(study.technique, study.published, "test"), bound)
    return float(e.metrics["decode_step_s"])  # type: ignore[arg-type]


STEP = 'words = "a step", metric = "decode_step_s"'


def test_the_five_verdicts(write: Write) -> None:
    low, high, at = (step(write(), rate=rate) for rate in (4e12, 2e12, 3e12))
    claims = [
        f'{{ {STEP}, set.rate = "3 TB/s", value = "{at:.12g} s", verdict = "REPRODUCED" }}',
        f'{{ {STEP}, value = "{at:.12g} s", verdict = "ATTAINABLE" }}',
        f'{{ {STEP}, value = "{0.5 * low:.12g} s", bound = true, verdict = "BOUND-CONSISTENT" }}',
        f'{{ {STEP}, value = "{2 * high:.12g} s", bound = "lower", verdict = "BOUND-CONSISTENT" }}',
        f'{{ {STEP}, value = "{2 * high:.12g} s", bound = "upper", verdict = "CONTRADICTED" }}',
        f'{{ {STEP}, value = "{2 * high:.12g} s", verdict = "CONTRADICTED" }}',
        '{ words = "elsewhere", out_of_model = "a kernel", verdict = "OUT-OF-MODEL" }',
    ]
    found = judged(write(*claims))
    assert [o.verdict for o in found.outcomes] == [o.claim.verdict for o in found.outcomes]
    assert found.agrees
    attainable = found.outcomes[1]
    assert attainable.predicted == pytest.approx((low, high))
    assert attainable.point == {"rate": pytest.approx(3e12)}
    inside = attainable.region["rate"]
    assert 2e12 < inside[0] <= 3e12 <= inside[1] < 4e12
    assert 0 < attainable.share < 1
    assert "% below" in found.outcomes[5].reason


def test_attainable_needs_a_grid_point_and_not_an_interval_around_the_claim(write: Write) -> None:
    coarse = PUBLISHED.replace("points = 9", "points = 2")
    at = step(write(), rate=3e12)
    found = judged(write(f'{{ {STEP}, value = "{at:.12g} s", tolerance = 0.01 }}', published=coarse))
    low, high = found.outcomes[0].predicted or (0, 0)
    assert low < at < high
    assert found.outcomes[0].verdict == "CONTRADICTED"
    assert "both sides" in found.outcomes[0].reason
    assert not found.agrees     # nothing is recorded


def test_an_unknown_that_does_not_matter_leaves_a_claim_reproduced(write: Write) -> None:
    claim = '{ words = "KV", metric = "state_bytes", value = "151 MB", tolerance = 0.01, verdict = "REPRODUCED" }'
    assert judged(write(claim)).agrees


@pytest.mark.parametrize(("quantity", "formula"), [
    ("ratio", lambda a, b: a / b), ("speedup", lambda a, b: b / a), ("reduction", lambda a, b: 1 - a / b),
    ("gain", lambda a, b: a / b - 1)])
def test_quantities_compare_both_sides(quantity: str, formula: Callable[[float, float], float], write: Write) -> None:
    claim = f'{{ {STEP}, quantity = "{quantity}", set = {{ rate = "3 TB/s", away = 0.5 }}, value = 1 }}'
    found = judged(write(claim)).outcomes[0]
    path = write(claim)
    assert found.predicted is not None
    assert found.predicted[0] == pytest.approx(formula(step(path, away=0.5), step(path, away=0.0)), rel=1e-9)


def test_tolerance_is_in_points_for_fractions_and_relative_otherwise(write: Write) -> None:
    path = write('{ words = "x", metric = "decode_step_s", quantity = "ratio", set = { rate = "3 TB/s", away = 0.5 }, '
                 'value = 1 }')
    ratio = judged(path).outcomes[0].predicted[0]  # type: ignore[index]
    common = 'words = "x", metric = "decode_step_s", set = { rate = "3 TB/s", away = 0.5 }'
    near = judged(write(
        f'{{ {common}, quantity = "ratio", value = {ratio * 1.04}, tolerance = 0.05 }}',
        f'{{ {common}, quantity = "ratio", value = {ratio * 1.06}, tolerance = 0.05 }}',
        f'{{ {common}, quantity = "gain", value = {ratio - 1 + 0.04}, tolerance = 0.05 }}',
        f'{{ {common}, quantity = "gain", value = {ratio - 1 + 0.06}, tolerance = 0.05 }}'))
    assert [o.verdict for o in near.outcomes] == ["REPRODUCED", "CONTRADICTED"] * 2


def test_joint_claims_are_counted_over_the_settings(write: Write) -> None:
    fast, slow = (step(write(), rate=r) for r in (4e12, 2e12))
    claims = [f'{{ {STEP}, value = "{value:.12g} s", tolerance = 0.1, joint = true }}' for value in (fast, slow, fast)]
    found = judged(write(*claims))
    joint = found.joint[0]
    assert [o.verdict for o in found.outcomes] == ["ATTAINABLE"] * 3
    assert (joint.inside, joint.settings, dict(joint.point)) == (0, 9, {})
    alone = round(found.outcomes[0].share * 9)
    assert [n for _, _, n in joint.pairs] == [0, alone, 0]
    assert alone >= 1
    same = judged(write(claims[0], claims[2])).joint[0]
    assert same.inside == alone
    assert 2e12 < same.point["rate"] <= 4e12  # type: ignore[operator]


def test_a_joint_claim_that_fixes_an_unknown_holds_for_all_of_it(write: Write) -> None:
    at = step(write(), rate=4e12)
    claims = [f'{{ {STEP}, set.rate = "4 TB/s", value = "{at:.12g} s", joint = "pair" }}',
              f'{{ {STEP}, value = "{at:.12g} s", joint = "pair" }}']
    found = judged(write(*claims))
    assert found.joint[0].inside == round(found.outcomes[1].share * 9)


def test_set_values_over_and_of(write: Write) -> None:
    up_to = (f'{{ {STEP}, quantity = "ratio", over = "away", better = "more", set.rate = "3 TB/s", value = 1 }}')
    least = f'{{ {STEP}, quantity = "argmin", of = "away", set.rate = "3 TB/s", value = 0, tolerance = 0 }}'
    path = write(up_to, least)
    found = judged(path)
    most = max(step(path, away=a) for a in np.linspace(0, 0.5, 6)) / step(path)
    assert found.outcomes[0].predicted[0] == pytest.approx(most)  # type: ignore[index]
    assert found.outcomes[1].verdict == "REPRODUCED"
    assert {c.knob for c in found.outcomes[0].curves} == {"away"}


def test_crossover_is_the_first_value_where_better_turns(write: Write) -> None:
    claim = (f'{{ {STEP}, quantity = "crossover", of = "sequences", set = {{ rate = "3 TB/s", away = 0.0 }}, '
             'value = 32, against_set.sequences = 16 }')
    many = TECHNIQUE.replace("[8, 32]", "[8, 12, 16, 24, 32]")
    found = judged(write(claim, technique=many)).outcomes[0]
    assert found.predicted == (16.0, 16.0)


def test_limits_exclude_settings(write: Write) -> None:
    claim = (f'{{ {STEP}, quantity = "argmax", of = "away", set.rate = "3 TB/s", value = 0, '
             'limits.decode_step_s = "{0:.9g} s" }}')
    path = write(f'{{ {STEP}, value = "1 s" }}')
    cap = 1.5 * step(path)
    found = judged(write(claim.replace("{0:.9g}", f"{cap:.9g}").replace("}}", "}"))).outcomes[0]
    assert step(path, away=found.places["away"]) <= cap < step(path, away=0.5)


def test_an_optimal_knob_is_found_within_a_tenth_of_a_percent(write: Write) -> None:
    hump = PUBLISHED.replace('"=rate"', '"=rate*(1 - 0.1*(x - 1.3)**2)"')
    technique = TECHNIQUE.replace("[knobs]", '[knobs]\nx = { low = 0.0, high = 4.0, points = 9, default = "optimal" }')
    path = write(f'{{ {STEP}, set.rate = "3 TB/s", value = "1 s" }}',
                 f'{{ {STEP}, quantity = "argmin", of = "x", set.rate = "3 TB/s", value = 1.3, tolerance = 0.002 }}',
                 technique=technique, published=hump)
    found = judged(path)
    dense = min(step(path, x=x) for x in np.linspace(0.8, 1.8, 201))
    assert found.outcomes[0].predicted[0] <= dense * 1.001  # type: ignore[index]
    assert found.outcomes[0].places["x"] == pytest.approx(1.3, abs=0.01)
    assert found.outcomes[1].verdict == "REPRODUCED"


@pytest.mark.parametrize(("factor", "agrees"), [(1.0, True), (4.0, False)])
def test_a_closed_form_is_held_against_the_enumeration(factor: float, agrees: bool, write: Write) -> None:
    technique = TECHNIQUE.replace('host = "=away"', 'host = "=abs"').replace(
        "[knobs]", f'[knobs]\nabs = {{ low = 0.0, high = 1.0, points = 11, default = "optimal", '
        f'closed = "=max(0, 1 - {factor}*layers/layers)*away + {factor - 1}" }}')
    verdict = "REPRODUCED"
    path = write(f'{{ {STEP}, quantity = "argmin", of = "abs", set = {{ rate = "3 TB/s", away = 0 }}, '
                 f'value = [0, 0.02], verdict = "{verdict}" }}', technique=technique)
    found = judged(path)
    assert found.outcomes[0].verdict == verdict
    assert found.agrees is agrees
    assert (found.outcomes[0].closed["abs"] <= 1e-3) is agrees


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.integers(2, 40), st.booleans())
@settings(max_examples=200, deadline=None)
def test_zooming_finds_the_corner_of_two_lines(a: float, b: float, points: int, log: bool) -> None:
    axes = Axes({"x": Knob("x", low=0.01, high=1.0, points=points, log=log)})

    def time(trial: Any) -> Any:
        return np.maximum(a * trial["x"], b * (1.01 - trial["x"])) + 0.2

    found = best(axes, ("x",), time, -1)
    exact = time({"x": np.clip(1.01 * b / (a + b), 0.01, 1.0)})
    coarse = time({"x": axes.along("x")}).min()
    assert exact - 1e-12 <= float(found.value[0]) <= coarse
    if points >= 3:
        assert float(found.value[0]) <= exact * 1.001
    assert float(time({"x": found.places["x"]})[0]) == pytest.approx(float(found.value[0]))


def test_optima_are_taken_for_every_setting_of_the_rest_at_once() -> None:
    axes = Axes({"u": Knob("u", values=(1.0, 2.0, 4.0)), "x": Knob("x", low=0.0, high=1.0, points=17),
                 "k": Knob("k", values=(3.0, 1.0, 2.0))})
    u = axes.along("u")

    def time(trial: Any) -> Any:
        return (trial["x"] - 1 / (u + 1)) ** 2 + (trial["k"] - 2) ** 2 + u

    found = best(axes, ("x", "k"), time, -1)
    assert found.value.shape == (3, 1, 1)
    assert np.broadcast_to(found.places["x"], (3, 1, 1)).ravel() == pytest.approx([1 / 2, 1 / 3, 1 / 5], abs=2e-3)
    assert np.unique(found.places["k"]).tolist() == [2.0]


def test_calibrations_are_visible_and_reach_their_aim(write: Write) -> None:
    published = PUBLISHED.replace('"=rate"', '"=rate*share"') + (
        '[published.derived]\nshare = { metric = "decode_step_s", value = "20 ms", set.rate = "4 TB/s", '
        'solve = { low = 0.1, high = 1.0, points = 91 }, why = "measured" }\n')
    claim = f'{{ {STEP}, set.rate = "4 TB/s", value = "20 ms", tolerance = 0.001, verdict = "REPRODUCED" }}'
    found = judged(write(claim, published=published))
    assert found.agrees
    (calibration,) = found.calibrations
    assert (calibration.name, calibration.metric, calibration.aimed) == ("share", "decode_step_s", 0.02)
    assert calibration.missed < 1e-3
    assert 0.1 < calibration.low == calibration.high < 1
    impossible = published.replace('value = "20 ms"', 'value = "20 us"')
    with pytest.raises(InputError, match=r"published\.derived\.share.*misses"):
        judged(write(claim, published=impossible))


def test_derived_numbers_follow_the_unknowns(write: Write) -> None:
    published = PUBLISHED.replace('"=rate"', '"=double"') + '[published.derived]\ndouble = "=rate*2/layers*32"\n'
    path = write(f'{{ {STEP}, value = "1 s" }}', published=published)
    found = judged(path).calibrations[0]
    assert (found.low, found.high) == (pytest.approx(4e12), pytest.approx(8e12))


def test_equations_and_given_claims(write: Write) -> None:
    claim = ('{ words = "roof", equation = "roofline", value = "2 s", given = true, verdict = "REPRODUCED", '
             'arguments = { flops = "=2*1e15", nbytes = "1 GB", peak = "1000 TFLOP/s", bandwidth = "=rate" } }')
    found = judged(write(claim))
    assert found.outcomes[0].verdict == "REPRODUCED"
    made = document([found])
    assert made["given"] == 1
    assert made["studies"][0]["claims"][0]["given"] is True


def test_equations_may_use_model_traffic_and_machine(write: Write) -> None:
    claim = ('{ words = "reading weights", equation = "roofline", value = ["4 ms", "9 ms"], verdict = "ATTAINABLE", '
             'arguments = { flops = "=2*params*batch", nbytes = "=2*params", peak = "=flops", '
             'bandwidth = "=hbm_rate" } }')
    found = judged(write(claim)).outcomes[0]
    assert found.agrees
    assert found.predicted is not None
    assert found.predicted[1] == pytest.approx(2 * found.predicted[0])


def test_the_document_has_the_schema_of_definitions(write: Write) -> None:
    made = document([judged(write(f'{{ {STEP}, value = "1 s", verdict = "CONTRADICTED" }}'))])
    assert made["schema"] == "dse.studies/1"
    (study,) = made["studies"]
    assert study["name"] == "tiny"
    (claim,) = study["claims"]
    assert {"words", "quantity", "claimed", "predicted", "unit", "verdict"} <= set(claim)
    assert (claim["claimed"], claim["unit"], made["agrees"]) == (1.0, "s", True)


def test_equal_evaluations_run_once(write: Write) -> None:
    study = load_study(write(f'{{ {STEP}, value = "1 s" }}'))
    bench = Bench(study)
    side = Side(study.technique, study.published, "x")
    for _ in range(3):
        bench.evaluation(side, {"away": 0.0, "sequences": 8.0, "rate": np.array([1e12, 2e12])})
    assert bench.runs == 1


GOOD = f'{{ {STEP}, value = "1 s" }}'
BAD = {
    "no words": ('{ metric = "tpot_s", value = "1 s" }', "claims[0].words"),
    "no value": ('{ words = "x", metric = "tpot_s" }', "claims[0].value"),
    "no unit": ('{ words = "x", metric = "tpot_s", value = 0.02 }', "has no unit"),
    "wrong unit": ('{ words = "x", metric = "tpot_s", value = "3 GB" }', "quantity in s"),
    "unit of a ratio": ('{ words = "x", metric = "tpot_s", quantity = "ratio", value = "3 s" }', "plain number"),
    "unit nobody reads": ('{ words = "x", metric = "output_tok_s", value = 12 }', "'12.5 tok/s'"),
    "misspelt key": ('{ words = "x", metrc = "tpot_s", value = "1 s" }', "'metric'"),
    "misspelt override": (f'{{ {STEP}, value = "1 s", published.modl = "x" }}', "'model'"),
    "misspelt metric": ('{ words = "x", metric = "tpot", value = "1 s" }', "'tpot_s'"),
    "misspelt quantity": ('{ words = "x", metric = "tpot_s", quantity = "argmn", of = "away", value = 1 }', "'argmin'"),
    "misspelt verdict": ('{ words = "x", metric = "tpot_s", value = "1 s", verdict = "REPRODUCE" }', "'REPRODUCED'"),
    "misspelt knob": (f'{{ {STEP}, value = "1 s", set.awy = 1 }}', "'away'"),
    "unit of a knob": (f'{{ {STEP}, value = "1 s", set.rate = 3 }}', "quantity in B/s"),
    "over an unknown": (f'{{ {STEP}, value = "1 s", over = ["rate"] }}', "no such knob"),
    "argmin of nothing": (f'{{ {STEP}, quantity = "argmin", value = 1 }}', "claims[0].of"),
    "interval upside down": (f'{{ {STEP}, value = ["2 s", "1 s"] }}', "[low, high]"),
    "no list": (f'{{ {STEP}, value = ["1 s"] }}', "[low, high]"),
    "expression": (f'{{ {STEP}, value = "1 s", against.placement.kv.host = "=1/0" }}', "divides by zero"),
    "long expression": (f'{{ {STEP}, value = "1 s", against.placement.kv.host = "={"1+" * 300}1" }}', "characters"),
    "unknown name": (f'{{ {STEP}, value = "1 s", side = "against", against.placement.kv.host = "=awy" }}', "'away'"),
    "unknown tier": (f'{{ {STEP}, value = "1 s", side = "against", against.placement.kv.disc = 1.0 }}', "disc"),
    "unknown object": (f'{{ {STEP}, value = "1 s", side = "against", against.placement.kw.host = 1.0 }}', "'kv'"),
    "share beyond one": (f'{{ {STEP}, value = "1 s", side = "against", against.placement.kv.host = 1.5 }}', "1.5"),
    "no such equation": ('{ words = "x", equation = "roofine", value = "1 s" }', "'roofline'"),
    "no such symbol": ('{ words = "x", equation = "roofline", value = "1 s", arguments.flop = 1 }', "'flops'"),
    "missing symbol": ('{ words = "x", equation = "roofline", value = "1 s", arguments.flops = "=1" }', "nbytes"),
    "no such device figure": (f'{{ {STEP}, value = "1 s", published.device.chip.cache_byte = 1 }}', "cache_byte"),
    "no such model": (f'{{ {STEP}, value = "1 s", published.model = "lama" }}', "model"),
    "no such chip": (f'{{ {STEP}, value = "1 s", published.hardware = "h10" }}', "hardware"),
    "no such traffic": (f'{{ {STEP}, value = "1 s", published.traffic.inputs = 1 }}', "input_tokens"),
    "two loads": (f'{{ {STEP}, value = "1 s", published.traffic.rate = 1 }}', "exactly one"),
    "text for a table": (f'{{ {STEP}, value = "1 s", set = 1 }}', "expected a table"),
    "no claim": ("3", "expected a table"),
    "neither is better": ('{ words = "x", metric = "batch", over = "away", value = 1 }', "claims[0].better"),
}


@pytest.mark.parametrize(("claim", "words"), BAD.values(), ids=BAD)
def test_bad_claims_are_one_line_with_file_and_key(claim: str, words: str, write: Write) -> None:
    with pytest.raises(InputError) as caught:
        judged(write(claim))
    line = str(caught.value)
    assert words in line
    assert "\n" not in line
    assert "tiny.toml" in line or "catalogue" in line


FILES = {
    "no kind": (HEAD.replace('kind = "study"\n', ""), "kind"),
    "another kind": (HEAD.replace("study", "search"), "kind"),
    "no source": (HEAD.replace('source = "a test"\n', ""), "source"),
    "no title": (HEAD.replace("title", "titel"), "titel"),
    "empty source": (HEAD.replace("a test", " "), "source"),
}


@pytest.mark.parametrize(("head", "words"), FILES.values(), ids=FILES)
def test_bad_heads(head: str, words: str, write: Write) -> None:
    with pytest.raises(InputError, match=words):
        load_study(write(GOOD, head=head))


TABLES = {
    "no such field": (TECHNIQUE.replace("placement.kv", "placment.kv"), "'placement'"),
    "knob without a default": (TECHNIQUE.replace(", default = 0.0", ""), "knobs.away.default"),
    "knob outside its values": (TECHNIQUE.replace("default = 8", 'default = "x"'), "no quantity"),
    "knob upside down": (TECHNIQUE.replace("high = 0.5", "high = -1.0"), "low < high"),
    "knob of one end": (TECHNIQUE.replace("high = 0.5, ", ""), "knobs.away.high"),
    "too many points": (TECHNIQUE.replace("points = 6", "points = 1000000"), "points"),
    "values and range": (TECHNIQUE.replace("values = [8, 32]", "values = [8, 32], low = 1"), "either"),
    "unused knob": (TECHNIQUE + "idle = { values = [1], default = 1 }\n", "used by no expression"),
    "a name that no expression can use": (TECHNIQUE + '"a-b" = { values = [1], default = 1 }\n', "no name"),
    "name of a function": (TECHNIQUE + "min = { values = [1], default = 1 }\n", "no name"),
    "code": (TECHNIQUE.replace('"=away"', "\"=__import__('os').system('touch /tmp/dse-was-here')\""), "no arithmetic"),
    "logarithm of nothing": (TECHNIQUE.replace("points = 6", 'points = 6, scale = "log"'), "logarithm"),
    "knob and unknown": (TECHNIQUE + "rate = { values = [1], default = 1 }\n", "is a knob too"),
}


@pytest.mark.parametrize(("technique", "words"), TABLES.values(), ids=TABLES)
def test_bad_tables(technique: str, words: str, write: Write) -> None:
    with pytest.raises(InputError) as caught:
        judged(write(GOOD, technique=technique))
    assert words in str(caught.value)
    assert "tiny.toml" in caught.value.where
    assert not Path("/tmp/dse-was-here").exists()


def test_an_unknown_needs_a_reason(write: Write) -> None:
    with pytest.raises(InputError, match=r"unknown\.rate\.why"):
        load_study(write(GOOD, published=PUBLISHED.replace(', why = "not given"', "")))


def test_huge_and_deep_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.toml"
    path.write_text(HEAD + "#" * (1 << 21), "utf-8")
    with pytest.raises(InputError, match="larger"):
        load_study(path)
    path.write_text(HEAD + "x = " + "[" * 5000 + "]" * 5000, "utf-8")
    with pytest.raises(InputError, match="deeply"):
        load_study(path)


def test_grids_without_end_are_refused(write: Write) -> None:
    many = "".join(f'u{i} = {{ low = 1.0, high = 2.0, points = 4000, why = "x" }}\n' for i in range(3))
    published = PUBLISHED.replace('"=rate"', '"=rate*u0*u1*u2"') + many
    with pytest.raises(InputError, match="settings, expected at most"):
        judged(write(GOOD, published=published))


def test_techniques_come_from_studies_files_and_nothing(write: Write, tmp_path: Path) -> None:
    assert load_technique("none") is NOTHING
    path = write(GOOD, technique=TECHNIQUE.replace('"=away"', '"=away*rate/4e12"'))
    found = load_technique(path)
    assert found.knobs["rate"].default == pytest.approx(3e12)
    assert set(found.knobs) == {"away", "sequences", "rate"}
    bare = tmp_path / "bare.toml"
    bare.write_text('kind = "technique"\n[placement]\nkv = { host = 0.5 }\n', "utf-8")
    assert load_technique(bare) == Technique("bare", fields={"placement": {"kv": {"host": 0.5}}},
                                             where=f"{bare}: ")
    bare.write_text('kind = "search"\n', "utf-8")
    with pytest.raises(InputError, match="kind"):
        load_technique(bare)
    with pytest.raises(InputError, match="not in the catalogue"):
        load_technique("no-such-technique")


def test_techniques_merge_into_a_plan_and_conflicts_name_both() -> None:
    model, system, traffic = load_model("llama-3.1-8b"), load_system("h100_sxm"), Traffic(1024, 256, batch=8)
    away = Technique("away", fields={"placement": {"kv": {"host": "=share*tp/gpus"}}},
                     knobs={"share": Knob("share", low=0.0, high=1.0, points=11, default=0.25)})
    base = {"parallelism": {"tp": 1}}
    assert bound_plan(base, [away], {}, model, traffic, system)["placement"]["kv"] == {"host": 0.25}
    given_ = bound_plan(base, [away, NOTHING], {"away.share": 0.5, "share": 0.75}, model, traffic, system)
    assert given_["placement"]["kv"] == {"host": 0.5}
    assert bound_plan(base, [NOTHING], {}, model, traffic, system)["parallelism"] == {"tp": 1}
    other = Technique("other", fields={"placement": {"kv": {"host": 0.5}}})
    with pytest.raises(InputError) as caught:
        bound_plan(base, [away, other], {}, model, traffic, system)
    assert "away" in str(caught.value)
    assert "other" in str(caught.value)


def test_an_optimal_knob_needs_somebody_who_chooses() -> None:
    model, system, traffic = load_model("llama-3.1-8b"), load_system("h100_sxm"), Traffic(1024, 256, batch=8)
    knob = Knob("share", low=0.0, high=1.0, points=11, default="optimal")
    fields = {"placement": {"kv": {"host": "=share"}}}
    with pytest.raises(InputError, match="closed form"):
        bound_plan({}, [Technique("away", fields=fields, knobs={"share": knob})], {}, model, traffic, system)
    closed = replace(knob, closed=parse("=min(2, host_rate/hbm_rate*context/batch/layers)", "x"))
    found = bound_plan({}, [Technique("away", fields=fields, knobs={"share": closed})], {}, model, traffic, system)
    assert 0 < found["placement"]["kv"]["host"] <= 1


def test_a_sampler_binds_the_same_name() -> None:
    trial = optuna.trial.FixedTrial({"share": 0.3, "kind": "fp8", "tokens": 4})
    assert Knob("share", low=0.1, high=1.0, points=3, log=True).suggest(trial) == 0.3
    assert Knob("kind", values=("fp8", "bf16")).suggest(trial) == "fp8"
    assert Knob("tokens", low=1, high=8, points=8, whole=True).suggest(trial) == 4.0


def test_names_come_from_the_catalogue(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "own" / "studies" / "systems"
    folder.mkdir(parents=True)
    write(GOOD).rename(folder / "mine.toml")
    monkeypatch.setenv("DSE_CATALOGUE", str(tmp_path / "own"))
    assert "mine" in study_names()
    assert load_study("mine").title == "KV in host memory"
