"""Constants of kernels and engines: complete, sourced, and merged from general to particular."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from dse.catalogue.calibration import _experts, engine_names, load_engine, load_kernels
from dse.catalogue.hardware import chip_names, load_chip
from dse.catalogue.paths import data_roots
from dse.catalogue.systems import load_system
from dse.errors import InputError
from dse.model.kernels import expert_constants

FILES = sorted((data_roots()[-1] / "hardware" / "calibration").rglob("*.toml"))
FILES = [path for path in FILES if path.stem != "uncertainty"]


def constants(table: dict, path: str = "") -> list[tuple[str, dict]]:
    """Every constant of a file with its dotted name."""
    found = []
    for key, value in table.items():
        if isinstance(value, dict):
            name = f"{path}.{key}".lstrip(".")
            found += [(name, value)] if "value" in value else constants(value, name)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_constant_has_an_error_and_every_file_a_source_and_date(path):
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert table["source"]
    assert table["date"]
    assert constants(table)
    assert all("error" in constant for _, constant in constants(table))


@pytest.mark.parametrize("name", chip_names())
def test_every_chip_gets_constants_for_every_kernel(name):
    chip = load_chip(name)
    for library in ("vllm", "trtllm"):
        kernels = load_kernels(chip, library)
        assert 0 < kernels.gemm.efficiency <= 1
        assert 0 < kernels.gemm.launch < 1e-4


def test_a_measured_chip_has_its_own_launch_floor_and_an_unmeasured_one_the_rule():
    assert load_kernels(load_chip("h100_sxm"), "vllm").gemm.launch == pytest.approx(2.6e-6, rel=0.02)
    h20 = load_chip("h20_sxm")
    assert load_kernels(h20, "vllm").gemm.launch == pytest.approx(4700 / h20.clock, rel=0.05)


def test_a_chip_based_on_another_takes_its_constants():
    chip = replace(load_chip("h100_sxm"), name="mine")
    assert load_kernels(chip, "vllm") == load_kernels(load_chip("h100_sxm"), "vllm")


def test_an_unknown_library_or_engine_is_named_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'vllm'"):
        load_kernels(load_chip("h100_sxm"), "vlm")
    with pytest.raises(InputError, match="did you mean 'sglang'"):
        load_engine("sglan")


def test_engines_differ_where_their_policies_differ():
    assert {load_engine(name).policy for name in engine_names()} == {"mixed", "prompt_first"}


def test_experts_have_constants_by_format_and_what_a_format_lacks_is_bf16s():
    kernels = load_kernels(load_chip("b200_sxm"), "vllm").experts
    assert set(kernels) >= {"bf16", "fp8", "fp8_block", "nvfp4", "mxfp4"}
    assert kernels["nvfp4"].launch < kernels["bf16"].launch       # a low-latency kernel
    family = {"launch": 1e-5, "expert": 1e-7, "efficiency_factor": 1.0, "memory_factor": 1.0, "row_passes": 5.0,
              "token_passes": 3.0}
    made = _experts({**family, "fp8": {"launch": 2e-5}}, "file: experts.vllm")
    assert made["fp8"] == replace(made["bf16"], launch=2e-5)


def test_expert_kernels_are_the_librarys():
    chip = load_chip("b200_sxm")
    ours, theirs = (load_kernels(chip, library).experts["fp8_block"] for library in ("vllm", "trtllm"))
    assert ours.expert < 0.2 * theirs.expert        # no padding to whole blocks for each expert


def test_formats_in_an_array_have_each_its_own_expert_constants():
    system = load_system("b200_sxm", gpus=8)
    found = expert_constants(system, np.array(["bf16", "nvfp4", "int8"]))
    known = system.kernels.experts
    assert found.launch.tolist() == [known["bf16"].launch, known["nvfp4"].launch, known["bf16"].launch]
