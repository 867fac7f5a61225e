"""Loaders of measured kernels: units, what each cleaning rule drops, and bad input of a user's own."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dse.errors import InputError
from dse.validation.pipeline import measured
from dse.validation.splits import held_out, sample, unseen_shapes
from dse.validation.tables import attention, collective, exchange, experts, gemm, latent
from dse.validation.tables.source import Loaded
from dse.validation.tables.user import check_scale, load_csv

PACKAGE = importlib.util.find_spec("aiconfigurator_core") is not None
MODULES = {"gemm": gemm, "attention": attention, "mla": latent, "moe": experts, "collective": collective,
           "all_to_all": exchange}


def loaded(kind: str) -> Loaded:
    """A cleaned table, read once."""
    if not PACKAGE:
        if "validate" in os.environ.get("DSE_REQUIRE", ""):
            pytest.fail("the extra `validate` is required here and aiconfigurator-core is not installed")
        pytest.skip("aiconfigurator-core is not installed: pip install '.[validate]'")
    return measured(kind)


@pytest.mark.parametrize("kind", MODULES)
def test_times_are_in_seconds_and_no_row_repeats_or_misses_a_value(kind):
    table, dropped = loaded(kind)
    assert table["time_s"].between(1e-6, 10).all()
    assert not table.isna().any(axis=None)
    assert not table.drop(columns=["time_s", "version"]).duplicated().any()
    assert all(count >= 0 for count in dropped.values())


def test_a_message_is_bytes_not_elements():
    table, _ = loaded("collective")
    assert table.loc[table["library"] == "nccl", "nbytes"].min() == 512       # 256 elements of 16 bits


def test_the_a100s_impossible_decode_rows_are_why_its_table_goes(monkeypatch):
    loaded("attention")
    others = tuple(rule for rule in attention.RULES if "A100" not in rule.reason)
    monkeypatch.setattr(attention, "RULES", others)
    table, dropped = attention.load_attention()
    assert dropped["faster than the matrix peak or the cache allows"] > 100
    assert ((table["chip"] == "a100_80g_sxm") & (table["engine"] == "trtllm") & (table["phase"] == "decode")).any()


BROKEN = [
    ("gemm", "number format", {"dtype": ""}), ("gemm", "positive", {"m": 0}), ("gemm", "positive", {"time_s": np.nan}),
    ("gemm", "narrower", {"dtype": "fp8", "n": 64}), ("gemm", "faster", {"time_s": 1e-9}),
    ("attention", "window", {"window_size": 128}), ("attention", "64 or 128", {"head_dim": 256}),
    ("attention", "number format", {"kv_dtype": ""}), ("attention", "more heads", {"q_heads": 96}),
    ("attention", "batch above", {"phase": "decode", "batch": 1024}),
    ("attention", "shorter", {"phase": "decode", "kv_len": 32}), ("attention", "faster", {"time_s": 1e-9}),
    ("attention", "A100", {"chip": "a100_80g_sxm", "engine": "trtllm", "phase": "decode"}),
    ("attention", "FlashAttention 2", {"chip": "l40s", "engine": "vllm", "phase": "decode", "q_heads": 8,
                                       "kv_heads": 8}),
    ("mla", "shorter", {"phase": "decode", "kv_len": 32}), ("mla", "unsplit", {"chip": "l40s"}),
    ("mla", "faster", {"time_s": 1e-9}), ("moe", "number format", {"dtype": ""}),
    ("moe", "older kernel", {"kernel": "moe_torch_flow", "chip": "b200_sxm"}), ("moe", "16384", {"tokens": 32768}),
    ("moe", "older kernel", {"kernel": "vllm_fused_moe", "engine": "vllm", "chip": "b200_sxm"}),
    ("moe", "untuned", {"kernel": experts.UNTUNED, "chip": "h200_sxm"}),
    ("moe", "number format", {"kernel": "vllm_compressedtensorsw4a4mxfp4moe_marlin_marlinexperts"}),
    ("moe", "tensor-parallel", {"inter": 100, "tp": 3}), ("moe", "expert-parallel", {"experts": 100, "ep": 3}),
    ("moe", "faster", {"skew": 0.0, "tokens": 4096, "time_s": 1e-9}), ("collective", "8-bit", {"dtype": "int8"}),
    ("collective", "no plan", {"kind": None}), ("collective", "256 bytes", {"nbytes": 128}),
    ("collective", "32 MiB", {"library": "graph", "nbytes": 64 << 20}), ("collective", "staged", {"chip": "l40s",
                                                                                                 "ranks": 4}),
    ("collective", "PCIe", {"chip": "l40s", "library": "graph"}), ("collective", "faster", {"time_s": 1e-12}),
    ("all_to_all", "several nodes", {"nodes": 2}),
]


@pytest.mark.parametrize(("kind", "reason", "change"), BROKEN, ids=lambda v: str(v)[:30])
def test_each_rule_drops_the_row_it_names_and_keeps_the_sound_one(kind, reason, change):
    sound = loaded(kind)[0].head(1)
    rule = next(rule for rule in MODULES[kind].RULES if reason in rule.reason)
    assert rule.keep(sound).all()
    assert not rule.keep(sound.assign(**change)).any()


def test_a_shape_with_two_kernels_has_the_time_of_the_faster():
    sound = loaded("moe")[0].head(1)
    two = pd.concat([sound.assign(kernel="slow", time_s=2e-4), sound.assign(kernel="fast", time_s=1e-4)],
                    ignore_index=True)
    assert two[experts.fastest(two)]["kernel"].tolist() == ["fast"]


def test_nvfp4_counts_only_where_the_low_latency_kernel_was_timed():
    sound = loaded("moe")[0].head(1).assign(dtype="nvfp4", chip="b200_sxm", kernel="moe_torch_flow_cutlass")
    assert not experts.complete(sound).any()
    assert experts.complete(sound.assign(chip="rtx_pro_6000_bw")).all()     # it has no such kernel
    both = pd.concat([sound, sound.assign(kernel=experts.LOW_LATENCY)], ignore_index=True)
    assert experts.complete(both).all()


def test_every_weight_format_of_experts_has_measurements():
    for _, part in loaded("moe")[0].groupby("engine"):
        assert set(part["dtype"]) == {"bf16", "fp8", "fp8_block", "nvfp4", "mxfp4"}


@pytest.mark.parametrize("kind", ["gemm", "attention", "mla", "collective"])
def test_a_fifth_of_the_shapes_is_held_out_and_always_the_same(kind):
    table = loaded(kind)[0]
    gone = unseen_shapes(table, kind)
    assert 0.1 < gone.mean() < 0.3
    assert (gone == unseen_shapes(table, kind)).all()


def test_a_split_does_not_depend_on_the_type_of_a_column_or_the_order_of_rows():
    table = pd.DataFrame({"n": range(1, 400), "k": 64})
    gone = held_out(table, ("n", "k"), 20)
    assert (gone == held_out(table.astype(float), ("n", "k"), 20)).all()
    assert (gone[::-1] == held_out(table[::-1], ("n", "k"), 20)).all()
    assert len(sample(table.assign(chip="a"), ["chip"], 10)) == 10


GOOD = "m,n,k,dtype,time_us\n" + "".join(f"{m},4096,4096,bf16,{20 + m / 25}\n" for m in (1, 16, 64, 256, 1024))


def csv(tmp_path, text: str):
    path = tmp_path / "measured.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_users_times_become_seconds_and_rows_keep_their_chip(tmp_path):
    table, dropped = load_csv(csv(tmp_path, GOOD), "gemm", "h100_sxm")
    assert table["time_s"].iloc[0] == pytest.approx(20.04e-6)
    assert set(table["chip"]) == {"h100_sxm"}
    assert not dropped


@pytest.mark.parametrize(("text", "message"), [
    (GOOD.replace("dtype", "format"), "dtype: column missing"),
    (GOOD.replace("time_us", "microseconds"), "time_s: expected one column of times"),
    (GOOD + "12,many,4096,bf16,30\n", "row 7, n: 'many' is no number"),
    (GOOD.replace("bf16", "bf61"), "row 2, dtype: unknown value 'bf61'"),
    (GOOD.replace("time_us", "time_ns"), "row 2, time_s: 2e-08 s beats the chip"),
    ("", "no readable CSV"),
    ("m,n,k,dtype,time_us\n", "has no rows"),
])
def test_a_file_that_cannot_be_used_is_refused_with_row_and_column(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_csv(csv(tmp_path, text), "gemm", "h100_sxm")


@pytest.mark.parametrize(("row", "reason"), [
    ("0,4096,4096,bf16,30", "empty, zero or negative m, the first in row 7"),
    (",4096,4096,bf16,30", "empty, zero or negative m, the first in row 7"),
    ("8,4096,4096,bf16,", "empty, zero or negative time_s, the first in row 7"),
    ("64,4096,4096,bf16,30", "a shape that an earlier row has, the first in row 7"),
    ("8192,8192,8192,bf16,3", "faster than the chip allows, the first in row 7"),
])
def test_a_row_that_cannot_be_used_is_dropped_and_counted(tmp_path, row, reason):
    table, dropped = load_csv(csv(tmp_path, GOOD + row + "\n"), "gemm", "h100_sxm")
    assert dropped == {reason: 1}
    assert len(table) == 5


def test_times_a_thousand_times_too_long_are_another_unit(tmp_path):
    path = csv(tmp_path, GOOD.replace("time_us", "time_ms"))
    table, _ = load_csv(path, "gemm", "h100_sxm")
    with pytest.raises(InputError, match="over 300 times what the chip needs"):
        check_scale(table, np.full(len(table), 2e-5), path)


def test_a_published_table_with_its_own_column_names_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "amd.csv"
    path.write_text("hw,dtype,lib,m,n,k,latency_us\nMI300X,fp8_block,ck,64,8192,8192,40\nMI308X,bf16,asm,1,512,512,9\n",
                    encoding="utf-8")
    table, dropped = load_csv(path, "gemm", "mi300x")
    assert table["time_s"].tolist() == pytest.approx([40e-6])
    assert not dropped
