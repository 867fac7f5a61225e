"""From a HuggingFace `config.json` to a Model: `model_type` chooses a family, the family reads the hub's own keys.

A config is data from strangers. It is read, bounded and checked; nothing in it is executed, imported or fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from dse.catalogue.config_formats import formats_of
from dse.catalogue.families import classic, dense, experts, hybrid, latent, state_space
from dse.catalogue.json_reader import Reader, parse_object, read_text, show
from dse.errors import InputError, nearest
from dse.model.architecture import MixtureOfExperts, Model

FAMILIES: dict[str, Callable[[Reader], Model]] = {
    "bloom": classic.bloom,
    "cohere": dense.cohere,
    "cohere2": dense.cohere2,
    "deepseek_v2": latent.deepseek,
    "deepseek_v3": latent.deepseek,
    "deepseek_v32": latent.deepseek,
    "falcon": classic.falcon,
    "gemma": dense.gemma,
    "gemma2": dense.gemma2,
    "gemma3": dense.gemma3,
    "gemma3_text": dense.gemma3,
    "glm4_moe": experts.glm4_moe,
    "glm_moe_dsa": latent.deepseek,
    "gpt2": classic.gpt2,
    "gpt_oss": experts.gpt_oss,
    "jamba": state_space.jamba,
    "kimi_k2": latent.deepseek,
    "kimi_linear": hybrid.kimi_linear,
    "llama": dense.llama,
    "llama4": experts.llama4,
    "llama4_text": experts.llama4,
    "mamba": state_space.mamba,
    "mamba2": state_space.mamba2,
    "mimo": dense.qwen2,
    "minimax": hybrid.minimax,
    "minimax_m1": hybrid.minimax,
    "minimax_m2": experts.minimax_m2,
    "minimax_text_01": hybrid.minimax,
    "mistral": dense.mistral,
    "mixtral": experts.mixtral,
    "nemotron-nas": dense.nemotron_nas,
    "nemotron_h": state_space.nemotron_h,
    "opt": classic.opt,
    "phi3": dense.mistral,
    "qwen2": dense.qwen2,
    "qwen2_moe": experts.qwen2_moe,
    "qwen3": dense.qwen3,
    "qwen3_5": hybrid.qwen3_5,
    "qwen3_5_moe": hybrid.qwen3_next,
    "qwen3_5_moe_text": hybrid.qwen3_next,
    "qwen3_5_text": hybrid.qwen3_5,
    "qwen3_moe": experts.qwen3_moe,
    "qwen3_next": hybrid.qwen3_next,
    "qwen3_vl_moe_text": experts.qwen3_moe,
    "qwen3_vl_text": dense.qwen3,
}

# keys that a multimodal config holds beside the language model's table, and that speak of it
INHERITED = ("tie_word_embeddings", "quantization_config", "torch_dtype", "dtype")


def read_config(
    raw: Mapping[str, object], where: str, name: str = "", quantisation: Mapping[str, object] | None = None
) -> Model:
    """The model that a parsed config.json describes.

    `where` names the file in errors; `quantisation` is a parsed hf_quant_config.json from the same folder.
    """
    reader = _language_part(Reader(raw, where))
    model_type = _family_name(reader)
    model = FAMILIES[model_type](reader)
    formats = formats_of(reader, _modelopt(quantisation, where), _layers_with(model))
    return replace(model, name=name or model_type, model_type=model_type, formats=formats, source=where)


def read_config_file(path: Path, name: str = "") -> Model:
    """The model of a config.json on disk, with the hf_quant_config.json beside it where there is one."""
    raw = parse_object(read_text(path), str(path))
    beside = path.parent / "hf_quant_config.json"
    quantisation = parse_object(read_text(beside), str(beside)) if beside.is_file() else None
    return read_config(raw, str(path), name or path.resolve().parent.name, quantisation)


def _language_part(reader: Reader) -> Reader:
    """The table of the language model: `text_config` where the config is of a model that also sees or hears."""
    nested = reader.sub("text_config")
    if nested is None:
        return reader
    outer = {key: reader.raw[key] for key in INHERITED if reader.raw.get(key) is not None}
    if not nested.has("model_type"):
        outer["model_type"] = reader.raw.get("model_type")
    return nested.with_defaults(outer)


def _family_name(reader: Reader) -> str:
    """`model_type`, or an error that lists what is supported."""
    model_type = reader.text("model_type")
    if model_type not in FAMILIES:
        close = nearest(model_type[:64], FAMILIES)
        hint = f"{close} " if close.startswith("did you mean") else ""
        supported = f"supported: {', '.join(sorted(FAMILIES))}"
        raise reader.fault("model_type", f"is {show(model_type)}, which is not supported", hint + supported)
    return model_type


def _layers_with(model: Model) -> dict[str, int]:
    """How many layers have each kind of weights."""
    kinds = {
        "attention_weights": [group for group in model.layers if group.mixer is not None],
        "mlp_weights": [group for group in model.layers if group.feedforward is not None],
        "expert_weights": [group for group in model.layers if isinstance(group.feedforward, MixtureOfExperts)],
    }
    return {kind: sum(group.count for group in groups) for kind, groups in kinds.items()}


def _modelopt(quantisation: Mapping[str, object] | None, where: str) -> Reader | None:
    """The `quantization` table of modelopt's file."""
    if quantisation is None:
        return None
    file = str(Path(where).with_name("hf_quant_config.json"))
    table = Reader(quantisation, file).sub("quantization")
    if table is None:
        raise InputError(f"{file}: quantization", "is missing, expected a table")
    return table
