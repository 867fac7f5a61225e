"""Lines in front of a server, and token budgets: limits, textbook queues, and the numbers behind published choices."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from dse.equations import lines


def test_the_wait_is_that_of_the_textbook_queues() -> None:
    rate, slot = sympy.symbols("rate slot", positive=True)
    load = rate * slot
    for cv2, wait in ((0, load * slot / (2 * (1 - load))), (1, load * slot / (1 - load))):
        values = {rate: 0.7, slot: 0.9}
        assert float(lines.queue_wait(rate, slot, 1, cv2).subs(values)) == pytest.approx(float(wait.subs(values)))


def test_no_arrivals_wait_for_nobody_and_a_full_server_for_ever() -> None:
    assert lines.queue_wait(0.0, 1.0, 1.0, 1.0) == 0
    assert lines.queue_wait(1.0, 1.0, 1.0, 0.0) > 1e6
    waits = lines.queue_wait(np.linspace(0, 2, 201), 1.0, 1.0, 0.5)
    assert np.all(np.diff(waits) > 0)


@pytest.mark.parametrize("rate", [0.5, 2.0, 5.0])
def test_stages_and_split_matrices_are_one_law_with_latency_and_slot_told_apart(rate: float) -> None:
    alone, factor = 0.15, 1.6
    two = lines.answered_after(alone, alone / 2, rate * alone / 2, 1.0, 0.0)
    assert two == pytest.approx(alone + rate * alone**2 / (4 * (2 - rate * alone)))
    split = lines.answered_after(alone / factor, alone / factor, rate * alone / factor, 1.0, 0.0)
    assert split == pytest.approx(alone / factor + rate * alone**2 / (2 * factor * (factor - rate * alone)))


def test_a_pipeline_answers_later_when_idle_and_sooner_under_load() -> None:
    alone, factor = 0.1, 1.5
    idle, busy = ([lines.answered_after(alone, alone / 2, rate * alone / 2, 1.0, 0.0),
                   lines.answered_after(alone / factor, alone / factor, rate * alone / factor, 1.0, 0.0)]
                  for rate in (0.1, 14.0))
    assert idle[0] > idle[1]
    assert busy[0] < busy[1]


def test_the_load_for_a_wait_is_the_inverse_of_the_wait() -> None:
    for load in (0.1, 0.5, 0.95):
        wait = lines.queue_wait(load / 0.2, 0.2, 1.0, 0.4)
        assert lines.load_for_wait(wait, 0.2, 1.0, 0.4) == pytest.approx(load)
    assert lines.load_for_wait(0.0, 0.2, 1.0, 0.4) == 0


def test_first_tokens_of_a_66b_model_at_published_rates() -> None:
    alone = lines.profiled_time(29.44164e-3, 512, 0.1513522e-3, 512**2, 8.31745e-9)
    assert alone == pytest.approx(109.1e-3, rel=1e-3)
    rates = np.array([1.0, 2.0, 4.0, 6.0, 8.0])
    answered = lines.answered_after(alone, alone, rates * alone, 1.0, 0.0)
    assert answered == pytest.approx([115.8e-3, 124.3e-3, 151.4e-3, 212.5e-3, 483.8e-3], rel=1e-3)


def test_a_handover_of_1125_mib_at_ten_a_second_is_90_gibit_a_second() -> None:
    assert lines.handover_rate(10.0, 1.125 * 2**30) * 8 == pytest.approx(90 * 2**30)


def test_a_budget_is_free_while_reading_takes_longer_and_the_largest_one_fills_the_limit() -> None:
    per_token, memory = 2 * 7.248e9 / 312e12, 14.5e9 / 2.039e12
    times = lines.budgeted_iteration(np.array([1.0, 100.0, 512.0, 2048.0]), per_token, memory, 0.0)
    assert times[0] == times[1] == memory
    assert times[2:] == pytest.approx([23.8e-3, 95.2e-3], rel=2e-3)
    most = lines.largest_budget(per_token, 0.001, 0.1)
    assert lines.budgeted_iteration(most, per_token, memory, 0.001) == pytest.approx(0.1)
    assert lines.largest_budget(per_token, 0.2, 0.1) == 0


def test_chunks_read_again_what_came_before_them() -> None:
    assert lines.reread_bytes(512, 512, 1.0) == 0
    assert lines.reread_bytes(4 * 512, 512, 1.0) == 512 * (1 + 2 + 3)
    exact = [lines.reread_bytes(2.0**15, 2.0**k, 1.0) for k in range(6, 15)]
    assert np.all(np.diff(exact) < 0)
    assert lines.reread_bytes(2.0**15, 64.0, 1.0) == pytest.approx(2.0**30 / 64 / 2, rel=3e-3)


def test_one_row_more_than_a_tile_costs_a_tile() -> None:
    assert [float(lines.tiled_rows(rows, 128)) for rows in (1, 128, 256, 257)] == [128, 128, 256, 384]


def test_stalls_are_a_share_and_an_allowed_share_limits_the_rate() -> None:
    assert lines.stalled_share(0.0, 0.04, 0.6) == 0
    assert lines.stalled_share(1e6, 0.04, 0.6) == pytest.approx(1)
    rate = 0.01 / (0.04 * 0.58)
    assert lines.stalled_share(rate, 0.04, 0.58) == pytest.approx(0.01, rel=0.01)
    assert lines.stall_free_gain(rate, 0.04, 0.58, 0.01) == pytest.approx(1)
