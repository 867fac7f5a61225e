"""Traces of requests: both formats, rules that drop rows, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dse.catalogue import traces
from dse.catalogue.traces import load_trace
from dse.errors import InputError

BURST = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def written(folder: Path, text: str | bytes) -> Path:
    """A file with this content."""
    path = folder / "trace.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def burst(*rows: tuple[object, object, object]) -> str:
    """A file in BurstGPT's format from (time, prompt, output)."""
    return BURST + "".join(f"{t},,1.5,ChatGPT,{p},{o},9,API log\n" for t, p, o in rows)


def test_moments_and_quantiles_of_burst_gpt(tmp_path):
    trace = load_trace(written(tmp_path, burst((5, 100, 10), (6, 300, 10), (9, 200, 40), (9, 400, 20))))
    assert (trace.name, trace.requests, trace.dropped) == ("trace", 4, ())
    assert trace.prompt.mean == 250
    assert trace.prompt.cv2 == pytest.approx(12500 / 250**2)
    assert trace.prompt.quantiles[0] == 250
    assert trace.output.mean == 20
    assert trace.rate == pytest.approx(3 / 4)
    gaps = np.array([1, 3, 0])
    assert trace.arrival_cv2 == pytest.approx(gaps.var() / gaps.mean() ** 2)


def test_a_pause_between_two_steady_stretches_is_no_burstiness(tmp_path):
    trace = load_trace(written(tmp_path, burst(*((t + 5000 * (t > 300), 50, 5) for t in range(1000)))))
    assert trace.arrival_cv2 == 0
    assert trace.overall_cv2 > 100


def test_azure_times_have_seven_decimals_and_need_not_be_sorted(tmp_path):
    rows = ("2023-11-16 18:17:04.0000000,20,2\n2023-11-16 18:17:03.0000000,10,1\n2023-11-16 18:17:05.5000000,30,3\n"
            "2023-11-16 18:17:07,30,3\n")
    trace = load_trace(written(tmp_path, AZURE + rows))
    assert trace.requests == 4
    assert trace.rate == pytest.approx(3 / 4)
    assert trace.prompt.mean == 22.5


def test_constant_lengths_and_gaps_do_not_vary(tmp_path):
    trace = load_trace(written(tmp_path, burst(*((t, 50, 5) for t in range(10)))))
    assert (trace.prompt.cv2, trace.output.cv2, trace.arrival_cv2) == (0, 0, 0)


@pytest.mark.parametrize(("row", "reason"), [
    ((7, 100, 0), "Response tokens below 1: the request failed"), ((7, 0, 9), "Request tokens below 1"),
    ((7, -5, 9), "Request tokens below 1"), ((7, "many", 9), "Request tokens is no number"),
    ((7, 5, ""), "Response tokens is no number"), ((7, 5, "inf"), "Response tokens is no number"),
    (("noon", 5, 5), "Timestamp is no time"), ((7, 10**9, 5), f"over {2**27} tokens"),
])
def test_a_row_that_is_no_request_is_dropped_with_count_and_line(tmp_path, row, reason):
    good = [(t, 100, 10) for t in range(4)]
    trace = load_trace(written(tmp_path, burst(*good, row, row, (9, 100, 10))))
    assert trace.requests == 5
    assert [(d.reason, d.count, d.line) for d in trace.dropped] == [(reason, 2, 6)]


@pytest.mark.parametrize(("content", "message"), [
    ("", "is no readable CSV"),
    ("a,b\n1,2\n", "Timestamp: column missing; expected the columns of BurstGPT"),
    ("TIMESTAMP,ContextTokens\n1,2\n", "GeneratedTokens: column missing"),
    (AZURE, "has 0 usable requests, expected at least 3"),
    (AZURE + "today,1,1\n" * 5, "5 rows dropped, line 2 first: TIMESTAMP is no time"),
    (burst(*[(3, 1, 1)] * 5), "Timestamp: all requests come at the same time"),
    (b"\xff\xfe\x00T\x80", "is no readable CSV"),
])
def test_a_file_that_is_no_trace_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        load_trace(written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_missing_and_oversized_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"absent\.csv: cannot be read"):
        load_trace(tmp_path / "absent.csv")
    monkeypatch.setattr(traces, "LARGEST_BYTES", 16)
    with pytest.raises(InputError, match="is larger than"):
        load_trace(written(tmp_path, burst((1, 1, 1))))
