"""The model catalogue: counts that are published, caches a person can check by hand, formats, windows and states."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from dse.catalogue.config import read_config_file
from dse.catalogue.json_reader import parse_object
from dse.catalogue.models import load_model, model_names, published
from dse.catalogue.paths import data_roots
from dse.errors import InputError
from dse.model.architecture import (
    DenseFeedForward,
    LatentAttention,
    MixtureOfExperts,
    RecurrentMixer,
    SoftmaxAttention,
)
from dse.model.parameters import (
    active_parameters,
    cache_elements_per_token,
    matrix_elements,
    parameter_counts,
    total_parameters,
)

NAMES = model_names()

# layers with a growing cache x what each keeps of a token: keys and values of each key-value head, or the latent, the
# rope key and (DeepSeek-V3.2, GLM-5) the indexer's key
CACHE_ELEMENTS = {
    "opt-6.7b": 32 * 2 * 32 * 128,
    "opt-13b": 40 * 2 * 40 * 128,
    "opt-30b": 48 * 2 * 56 * 128,
    "opt-66b": 64 * 2 * 72 * 128,
    "opt-175b": 96 * 2 * 96 * 128,
    "gpt3-175b": 96 * 2 * 96 * 128,
    "llama-2-7b": 32 * 2 * 32 * 128,
    "llama-2-13b": 40 * 2 * 40 * 128,
    "llama-2-70b": 80 * 2 * 8 * 128,
    "llama-3.2-1b": 16 * 2 * 8 * 64,
    "llama-3.2-3b": 28 * 2 * 8 * 128,
    "llama-3.1-8b": 32 * 2 * 8 * 128,
    "llama-3.1-70b": 80 * 2 * 8 * 128,
    "llama-3.1-405b": 126 * 2 * 8 * 128,
    "llama-4-scout": 48 * 2 * 8 * 128,
    "llama-4-maverick": 48 * 2 * 8 * 128,
    "mistral-7b-v0.1": 32 * 2 * 8 * 128,
    "mistral-7b-v0.3": 32 * 2 * 8 * 128,
    "mixtral-8x7b": 32 * 2 * 8 * 128,
    "mixtral-8x22b": 56 * 2 * 8 * 128,
    "mistral-large-2407": 88 * 2 * 8 * 128,
    "mistral-small-24b-2501": 40 * 2 * 8 * 128,
    "qwen2.5-0.5b": 24 * 2 * 2 * 64,
    "qwen2.5-1.5b": 28 * 2 * 2 * 128,
    "qwen2.5-3b": 36 * 2 * 2 * 128,
    "qwen2.5-7b": 28 * 2 * 4 * 128,
    "qwen2.5-14b": 48 * 2 * 8 * 128,
    "qwen2.5-32b": 64 * 2 * 8 * 128,
    "qwen2.5-72b": 80 * 2 * 8 * 128,
    "qwen3-8b": 36 * 2 * 8 * 128,
    "qwen3-32b": 64 * 2 * 8 * 128,
    "qwen3-30b-a3b": 48 * 2 * 4 * 128,
    "qwen3-235b-a22b": 94 * 2 * 4 * 128,
    "qwen3-next-80b-a3b": 12 * 2 * 2 * 256,
    "qwen3.5-397b-a17b": 15 * 2 * 2 * 256,
    "phi-3-mini-4k": 32 * 2 * 32 * 96,
    "phi-3-medium-4k": 40 * 2 * 10 * 128,
    "phi-3-small-8k": 32 * 2 * 8 * 128,
    "llama-33b": 60 * 2 * 52 * 128,
    "llama-65b": 80 * 2 * 64 * 128,
    "gemma-2-9b": 42 * 2 * 8 * 256,
    "gemma-2-27b": 46 * 2 * 16 * 128,
    "gemma-3-4b": 34 * 2 * 4 * 256,
    "gemma-3-12b": 48 * 2 * 8 * 256,
    "gemma-3-27b": 62 * 2 * 16 * 128,
    "deepseek-v2": 60 * (512 + 64),
    "deepseek-v3": 61 * (512 + 64),
    "deepseek-r1": 61 * (512 + 64),
    "deepseek-v3.2": 61 * (512 + 64 + 128),
    "kimi-k2": 61 * (512 + 64),
    "glm-4.5": 92 * 2 * 8 * 128,
    "glm-4.5-air": 46 * 2 * 8 * 128,
    "gpt-oss-20b": 24 * 2 * 8 * 64,
    "gpt-oss-120b": 36 * 2 * 8 * 64,
    "falcon-7b": 32 * 2 * 1 * 64,
    "falcon-40b": 60 * 2 * 8 * 64,
    "falcon-180b": 80 * 2 * 8 * 64,
    "yi-34b": 60 * 2 * 8 * 128,
    "command-r-plus": 64 * 2 * 8 * 128,
    "bloom-176b": 70 * 2 * 112 * 128,
    "jamba-v0.1": 4 * 2 * 8 * 128,
    "jamba-1.5-large": 9 * 2 * 8 * 128,
    "mamba2-2.7b": 0,
    "nemotron-h-8b": 4 * 2 * 8 * 128,
    "nemotron-h-56b": 10 * 2 * 8 * 128,
    "qwen3-0.6b": 28 * 2 * 8 * 128,
    "minimax-m2.5": 62 * 2 * 8 * 128,
    "kimi-k2.5": 61 * (512 + 64),
    "kimi-k3": 24 * (512 + 64),
    "glm-5": 78 * (512 + 64 + 128),
}
# checkpoints in another number format have the shape of the model they are made from
SAME_SHAPE = {
    "deepseek-v3.1-nvfp4": "deepseek-v3",
    "deepseek-v3.2-nvfp4": "deepseek-v3.2",
    "glm-5-fp8": "glm-5",
    "glm-5-nvfp4": "glm-5",
    "kimi-k2.5-nvfp4": "kimi-k2.5",
    "llama-3.1-70b-fp8": "llama-3.1-70b",
    "minimax-m2.5-nvfp4": "minimax-m2.5",
    "qwen3-235b-a22b-fp8": "qwen3-235b-a22b",
    "qwen3-235b-a22b-nvfp4": "qwen3-235b-a22b",
    "qwen3-30b-a3b-fp8": "qwen3-30b-a3b",
    "qwen3-32b-fp8": "qwen3-32b",
    "qwen3-32b-fp8-tensor": "qwen3-32b",
    "qwen3.5-397b-a17b-nvfp4": "qwen3.5-397b-a17b",
}
# attention, mlp, experts, kv, activations
FORMATS = {
    "llama-3.1-8b": ("bf16", "bf16", "bf16", "bf16", "bf16"),
    "opt-6.7b": ("bf16", "bf16", "bf16", "bf16", "bf16"),
    "deepseek-v3": ("fp8_block", "fp8_block", "fp8_block", "bf16", "fp8_block"),
    "gpt-oss-120b": ("bf16", "bf16", "mxfp4", "bf16", "bf16"),
    "kimi-k2.5": ("bf16", "bf16", "int4", "bf16", "bf16"),
    "llama-3.1-70b-fp8": ("fp8", "fp8", "fp8", "fp8", "fp8"),
    "qwen3-32b-fp8-tensor": ("fp8", "fp8", "fp8", "fp8", "fp8"),
    "qwen3-235b-a22b-nvfp4": ("nvfp4", "nvfp4", "nvfp4", "fp8", "nvfp4"),
    "deepseek-v3.1-nvfp4": ("bf16", "nvfp4", "nvfp4", "fp8", "nvfp4"),
    "glm-5-fp8": ("fp8_block", "fp8_block", "fp8_block", "bf16", "fp8_block"),
    "qwen3.5-397b-a17b-nvfp4": ("bf16", "bf16", "nvfp4", "fp8", "nvfp4"),
}


def config_of(name: str) -> dict[str, object]:
    """A catalogued config as it lies on disk."""
    path = data_roots()[-1] / "workloads" / "models" / name / "config.json"
    return parse_object(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("name", NAMES)
def test_a_total_outside_its_published_tolerance_is_a_wrong_shape(name: str) -> None:
    facts, total = published(name), total_parameters(load_model(name)) / 1e9
    if facts.total_b is None:
        pytest.skip(f"{name}: no published total")
    assert abs(total / facts.total_b - 1) <= facts.tolerance, f"{total:.3f} against {facts.total_b}"


@pytest.mark.parametrize("name", NAMES)
def test_cache_per_token_is_what_a_person_works_out(name: str) -> None:
    assert cache_elements_per_token(load_model(name)) == CACHE_ELEMENTS[SAME_SHAPE.get(name, name)]


@pytest.mark.parametrize("name", NAMES)
def test_objects_add_up_and_a_token_never_uses_more_than_all(name: str) -> None:
    model = load_model(name)
    counts = parameter_counts(model)
    assert min(counts.values()) >= 0
    assert sum(counts.values()) == total_parameters(model) >= active_parameters(model) > matrix_elements(model) > 0
    has_experts = any(isinstance(group.feedforward, MixtureOfExperts) for group in model.layers)
    assert (counts["expert_weights"] > 0) == has_experts == (active_parameters(model) < total_parameters(model))


@pytest.mark.parametrize(
    ("name", "active_b"),
    [("mixtral-8x7b", 12.88), ("qwen3-235b-a22b", 22.19), ("deepseek-v3", 37.55), ("kimi-k2", 32.86),
     ("llama-4-maverick", 17.18), ("glm-4.5-air", 13.42), ("jamba-1.5-large", 94.15), ("qwen3-next-80b-a3b", 3.875)],
)  # fmt: skip
def test_active_parameters_count_the_chosen_and_the_shared_experts(name: str, active_b: float) -> None:
    assert active_parameters(load_model(name)) / 1e9 == pytest.approx(active_b, rel=1e-3)


@pytest.mark.parametrize(("name", "expected"), FORMATS.items())
def test_formats_are_those_the_checkpoint_is_stored_in(name: str, expected: tuple[str, ...]) -> None:
    formats = load_model(name).formats
    keys = ("attention_weights", "mlp_weights", "expert_weights", "kv", "activations")
    assert tuple(formats[key] for key in keys) == expected
    assert formats["embedding"] == "bf16"


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("mistral-7b-v0.1", {4096: 32}),
        ("mistral-7b-v0.3", {None: 32}),
        ("mixtral-8x7b", {None: 32}),
        ("qwen2.5-7b", {None: 28}),
        ("phi-3-mini-4k", {2047: 32}),
        ("gemma-2-9b", {4096: 21, None: 21}),
        ("gemma-3-27b", {1024: 52, None: 10}),
        ("gpt-oss-120b", {128: 18, None: 18}),
        ("llama-4-scout", {8192: 36, None: 12}),
    ],
)
def test_windows_cover_the_right_number_of_layers(name: str, windows: dict[int | None, int]) -> None:
    found: dict[int | None, int] = {}
    for group in load_model(name).layers:
        assert isinstance(group.mixer, SoftmaxAttention)
        assert group.mixer.chunked == (name.startswith("llama-4") and group.mixer.window is not None)
        found[group.mixer.window] = found.get(group.mixer.window, 0) + group.count
    assert found == windows


@pytest.mark.parametrize(
    ("name", "layers", "state"),
    [
        ("mamba2-2.7b", 64, 80 * 64 * 128),
        ("jamba-v0.1", 28, 2 * 4096 * 16),
        ("nemotron-h-8b", 24, 128 * 64 * 128),
        ("qwen3-next-80b-a3b", 36, 32 * 128 * 128),
        ("qwen3.5-397b-a17b", 45, 64 * 128 * 128),
        ("kimi-k3", 69, 96 * 128 * 128),
    ],
)
def test_recurrent_layers_hold_a_state_instead_of_a_cache(name: str, layers: int, state: int) -> None:
    mixers = [(group.count, group.mixer) for group in load_model(name).layers]
    states = [(count, mixer.state_elements) for count, mixer in mixers if isinstance(mixer, RecurrentMixer)]
    assert sum(count for count, _ in states) == layers
    assert {size for _, size in states} == {state}


def test_an_indexer_is_read_where_a_model_has_one_and_nowhere_else() -> None:
    def indexers(name: str) -> set[tuple[int, int, int]]:
        mixers = [group.mixer for group in load_model(name).layers]
        return {(m.indexer_heads, m.indexer_dim, m.indexer_topk) for m in mixers if isinstance(m, LatentAttention)}

    assert indexers("deepseek-v3") == {(0, 0, 0)}
    assert indexers("deepseek-v3.2") == {(64, 128, 2048)}
    assert indexers("glm-5") == {(32, 128, 2048)}


def test_a_parallel_block_is_one_group_of_layers_that_share_a_norm() -> None:
    assert [(g.parallel_block, g.norms) for g in load_model("falcon-7b").layers] == [(True, 1)]
    assert [(g.parallel_block, g.norms) for g in load_model("falcon-40b").layers] == [(True, 2)]
    assert [(g.parallel_block, g.norms) for g in load_model("command-r-plus").layers] == [(True, 1)]
    assert not any(g.parallel_block for g in load_model("llama-3.1-8b").layers)


def test_a_feedforward_of_squared_relu_has_no_gate() -> None:
    widths = [g.feedforward for g in load_model("nemotron-h-8b").layers if g.feedforward is not None]
    assert widths == [DenseFeedForward(21504, gated=False)]


def test_every_catalogued_model_says_where_its_shape_and_its_total_are_from() -> None:
    for name in NAMES:
        facts = published(name)
        assert facts.title
        assert facts.source
        assert facts.config_source
        assert facts.total_b is None or facts.published_source
        assert not (facts.config_kind == "recalled" and facts.verified)
        assert load_model(name).name == name


def test_a_model_loads_from_a_file_and_from_a_folder_as_from_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_of("qwen3-8b")))
    by_name = load_model("qwen3-8b")
    for path in (tmp_path, tmp_path / "config.json", str(tmp_path)):
        assert load_model(path).layers == by_name.layers


def test_modelopts_file_beside_a_config_sets_the_formats(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_of("llama-3.1-8b")))
    quantisation = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": quantisation}))
    formats = read_config_file(tmp_path / "config.json").formats
    assert (formats["mlp_weights"], formats["kv"], formats["embedding"]) == ("fp8", "fp8", "bf16")


def package_configs() -> list[Path]:
    """The config files of aiconfigurator-core, found without importing it."""
    spec = find_spec("aiconfigurator_core")
    roots = list(spec.submodule_search_locations or []) if spec is not None else []
    return sorted(path for root in roots for path in Path(root, "model_configs").glob("*.json"))


def test_every_config_of_the_package_reads_or_names_its_model_type() -> None:
    paths = package_configs()
    if not paths:
        pytest.skip("aiconfigurator_core is not installed (extra: validate)")
    read = 0
    for path in paths:
        try:
            model = read_config_file(path)
        except InputError as error:
            assert "model_type" in str(error) or "larger than" in str(error), path.name  # noqa: PT017
            continue
        read += 1
        assert total_parameters(model) > 0
    print(f"{read} of {len(paths)} files read; the rest are quantisation files or families not supported")
    assert read >= 70
