"""Configs that are wrong, broken or mean harm: each reads as a model or is refused in one line, nothing else."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.catalogue.config import FAMILIES, read_config
from dse.catalogue.json_reader import MAX_BYTES, parse_object
from dse.catalogue.models import load_model, model_names
from dse.catalogue.paths import data_roots
from dse.errors import InputError
from dse.model.architecture import Model
from dse.model.parameters import total_parameters

NAMES = model_names()
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}


def config_of(name: str) -> dict[str, object]:
    """A catalogued config as it lies on disk."""
    path = data_roots()[-1] / "workloads" / "models" / name / "config.json"
    return parse_object(path.read_text(encoding="utf-8"), str(path))


def refused(raw: dict[str, object]) -> str:
    """The one line with which a config is refused."""
    with pytest.raises(InputError) as caught:
        read_config(raw, "x/config.json")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("x/config.json")
    return line


@pytest.mark.parametrize("name", ["llama-3.1-8", "../llama-3.1-8b", "", "nowhere/config.json", "a\0b", "x" * 5000])
def test_an_unknown_name_or_path_is_refused_in_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)
    if name == "llama-3.1-8":
        assert "llama-3.1-8b" in str(caught.value)


def test_an_unknown_model_type_is_told_what_is_supported() -> None:
    line = refused({**LLAMA, "model_type": "deepseek_v4"})
    assert "deepseek_v4" in line
    assert "did you mean 'deepseek_v3'" in line
    assert all(name in line for name in FAMILIES)


def test_a_misspelt_key_is_named() -> None:
    raw = {**LLAMA, "num_hidden_layer": 32}
    del raw["num_hidden_layers"]
    assert refused(raw) == (
        "x/config.json: num_hidden_layers: is missing, expected an integer in 1..4096; did you mean 'num_hidden_layer'?"
    )


def test_a_nested_key_is_named_with_its_table() -> None:
    line = refused({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 0}})
    assert line.startswith("x/config.json: text_config.num_hidden_layers: is 0")


@pytest.mark.parametrize(
    "bad",
    [True, 0, -1, 2**63, 10**4000, 10**5000, 4096.0, math.nan, math.inf, "4096", [4096], {}, None, "\x1b[31m\n" * 50],
    ids=range(14),
)
@pytest.mark.parametrize("key", [key for key in LLAMA if key not in ("model_type", "num_key_value_heads")])
def test_a_size_of_a_wrong_type_or_range_is_refused(key: str, bad: object) -> None:
    line = refused({**LLAMA, key: bad})
    assert f": {key}:" in line
    assert len(line) < 300
    assert line.isprintable()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"num_key_value_heads": 7}, "num_key_value_heads"),
        ({"num_attention_heads": 33, "num_key_value_heads": 33}, "num_attention_heads"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings"),
        ({"torch_dtype": "float7"}, "torch_dtype"),
        ({"model_type": ["llama"]}, "model_type"),
        ({"text_config": 3}, "text_config"),
        ({"quantization_config": {"quant_method": "magic"}}, "quantization_config.quant_method"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "quantization_config.bits"),
        ({"quantization_config": {"quant_algo": "NVFP5"}}, "quantization_config.quant_algo"),
        ({"quantization_config": {"quant_method": "fp8", "ignore": {}}}, "quantization_config.ignore"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "num_experts_per_tok"),
        ({"model_type": "mixtral", "num_local_experts": 10**6, "num_experts_per_tok": 3}, "n"),
        ({"model_type": "gemma2", "layer_types": ["sliding_attention"]}, "layer_types"),
        ({"model_type": "gpt_oss", "layer_types": ["none"] * 32}, "layer_types[0]"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "M?" * 16}, "hybrid_override_pattern"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused_at_its_key(change: dict[str, object], key: str) -> None:
    assert refused({**LLAMA, **change}).startswith(f"x/config.json: {key}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"model_type": "llama", "hidden_size": 40',
        "[1, 2]",
        "null",
        "NaN",
        '{"a":' * 200_000,
        "[" * 500_000,
        '{"hidden_size": ' + "9" * 10_000 + "}",
        '{"a": "\ud800"}',
        "{'model_type': __import__('os')}",
        '"' + "[" * 100,
    ],
    ids=range(11),
)
def test_text_that_is_no_config_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_config(parse_object(text, "x/config.json"), "x/config.json")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused_with_its_line() -> None:
    with pytest.raises(InputError, match=r"config.json: line 3: is not JSON"):
        parse_object('{\n"model_type": "llama",\n"hidden_size":', "x/config.json")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b" " * (MAX_BYTES + 1), b""], ids=["not text", "huge", "empty"])
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError):
        load_model(tmp_path)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        load_model(tmp_path)


def test_code_in_a_config_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    raw = {**LLAMA, "auto_map": {"AutoConfig": "evil.Config"}, "trust_remote_code": True, "__class__": "os.system"}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert load_model(tmp_path).layers == read_config(LLAMA, "x").layers


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 10),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.one_of(st.integers(-1, 3), st.text(max_size=3)), max_size=5),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def tables(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """A config and every table nested in it."""
    return [raw, *(inner for value in raw.values() if isinstance(value, dict) for inner in tables(value))]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_a_mutated_config_reads_or_is_refused_and_nothing_else(name: str, data: st.DataObject) -> None:
    raw: dict[str, Any] = copy.deepcopy(config_of(name))
    for _ in range(data.draw(st.integers(1, 3))):
        table = data.draw(st.sampled_from([t for t in tables(raw) if t]))
        key = data.draw(st.sampled_from(sorted(table)))
        if data.draw(st.booleans()):
            table[key] = data.draw(JUNK)
        elif len(table) > 1:
            del table[key]
    try:
        model = read_config(raw, "x/config.json")
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a model is as good an outcome
    else:
        assert isinstance(model, Model)
        assert total_parameters(model) > 0


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.dictionaries(st.sampled_from(sorted(LLAMA)), JUNK))
def test_a_family_given_any_keys_reads_or_refuses(model_type: str, raw: dict[str, object]) -> None:
    try:
        read_config({**LLAMA, **raw, "model_type": model_type}, "x/config.json")
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a model is as good an outcome


QUANTISATION_KEYS = [
    "quant_method",
    "quant_algo",
    "bits",
    "config_groups",
    "ignore",
    "quantized_layers",
    "kv_cache_scheme",
]
METHODS = st.sampled_from(["fp8", "gptq", "NVFP4", "MIXED_PRECISION", "modelopt"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(QUANTISATION_KEYS), st.one_of(JUNK, METHODS)))
def test_any_quantisation_table_reads_or_is_refused(table: dict[str, object]) -> None:
    try:
        formats = read_config({**LLAMA, "quantization_config": table}, "x/config.json").formats
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a model is as good an outcome
    else:
        assert set(formats.values()) <= {"bf16", "fp8", "fp8_block", "int8", "int4", "nvfp4", "mxfp4"}
