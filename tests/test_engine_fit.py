"""Fits of engines' overheads recover what made the rows, and held-out predictions do not see their own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dse.validation.engine_files import constant, engine_documents
from dse.validation.engine_fit import engines_of, fit_engines, held_out, names, start
from dse.validation.predict import predict, without_cached_prompts

USERS = (1, 4, 16, 64)


def rows() -> pd.DataFrame:
    """Serving of two models by all engines, without times."""
    made = [{"model": model, "chip": "h100_sxm", "engine": engine, "weights": "bf16", "tp": tp, "public": True,
             "isl_tokens": isl, "osl_tokens": 256.0, "concurrency": float(users), "ttft_s": 1.0, "tpot_s": 1.0}
            for model, tp in (("llama-3.1-8b", 1), ("llama-3.1-70b", 8)) for engine in ("vllm", "sglang", "trtllm")
            for isl in (512.0, 4096.0) for users in USERS]
    return pd.DataFrame(made)


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, np.ndarray]:
    """Rows whose times follow exactly from overheads other than those a fit starts from, and these overheads."""
    truth = start() + np.linspace(-0.4, 0.4, len(names()))
    table = rows()
    times = predict(table, engines_of(truth))
    return table.assign(ttft_s=times["ttft_s"], tpot_s=times["tpot_s"]), truth


def test_a_fit_recovers_the_overheads_that_made_the_rows(made):
    table, truth = made
    fit = fit_engines(table)
    # lost steps trade off against the request's own overhead: both delay the first token by some milliseconds
    clear = np.array([name != "lost_steps" for _, name in names()])
    assert fit.vector[clear] == pytest.approx(truth[clear], abs=0.25)
    times = predict(table, fit.engines)
    assert np.median(np.abs(times["tpot_s"] / table["tpot_s"] - 1)) < 0.02


def test_predictions_of_a_left_out_model_do_not_change_with_its_own_times(made):
    table, _ = made
    small = table[table["concurrency"].isin([4, 64])].reset_index(drop=True)
    eight = small["model"] == "llama-3.1-8b"
    slower = small.assign(tpot_s=small["tpot_s"].where(~eight, 1.5 * small["tpot_s"]))
    before, after = (held_out(t, ["model"])["tpot_s"] for t in (small, slower))
    assert after[eight].to_numpy() == pytest.approx(before[eight].to_numpy(), rel=0.02)
    assert not np.allclose(after[~eight], before[~eight], rtol=0.02)


def test_a_group_whose_prompts_cannot_have_been_computed_is_dropped_by_physics(made):
    table, _ = made
    cached = (table["engine"] == "vllm") & (table["model"] == "llama-3.1-8b")
    short = table.assign(tpot_s=table["tpot_s"].where(~cached, table["tpot_s"] / 50),
                         ttft_s=table["ttft_s"].where(~cached, table["ttft_s"] / 50))
    kept, dropped = without_cached_prompts(short)
    assert dropped == cached.sum()
    assert len(kept) == len(table) - dropped


def test_fitted_constants_are_written_in_their_files_units(made):
    table, _ = made
    assert constant("iteration", 1.5e-3, 0.2) == {"value": "1.5 ms", "error": "0.3 ms"}
    assert constant("lost_steps", 0.5, 0.1) == {"value": 0.5, "error": 0.05}
    from datetime import date

    documents = engine_documents(fit_engines(table[table["concurrency"] == 16]), date(2026, 11, 20))
    assert set(documents) == {"vllm", "sglang", "trtllm"}
    assert all(d["rows"] == 12 and d["policy"] in ("mixed", "prompt_first") for d in documents.values())
