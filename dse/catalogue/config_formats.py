"""Which number format each object of a checkpoint is in: from `torch_dtype`, `quantization_config` or modelopt's file.

Names of modules are matched by this file's own patterns; a regular expression found in a config is only read as text.
"""

from __future__ import annotations

import re
from collections import Counter

from dse.catalogue.json_reader import Reader, show
from dse.errors import nearest

WEIGHTS = ("attention_weights", "mlp_weights", "expert_weights")
ACTIVATIONS = {"fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "int8": "int8"}
DTYPES = ("bfloat16", "float16", "float32", "float", "half", "torch.bfloat16", "torch.float16", "torch.float32")
# modelopt's algorithm -> (weights, activations); MXFP8 is 8-bit with a scale a block, as fp8_block is
ALGORITHMS = {
    "FP8": ("fp8", "fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", "fp8"),
    "FP8_PB_WO": ("fp8_block", "bf16"),
    "FP8_PB_REAL": ("fp8_block", "fp8_block"),
    "MXFP8": ("fp8_block", "fp8_block"),
    "NVFP4": ("nvfp4", "nvfp4"),
    "NVFP4_AWQ": ("nvfp4", "nvfp4"),
    "W4A16_NVFP4": ("nvfp4", "bf16"),
    "W4A16_MXFP4": ("mxfp4", "bf16"),
    "W4A8_MXFP4_FP8": ("mxfp4", "fp8"),
    "W4A16_AWQ": ("int4", "bf16"),
    "INT4_AWQ": ("int4", "bf16"),
    "W4A8_AWQ": ("int4", "fp8"),
    "W8A16": ("int8", "bf16"),
    "W8A8_SQ_PER_CHANNEL": ("int8", "int8"),
    "INT8_SQ": ("int8", "int8"),
}
GROUPED = ("compressed-tensors", "modelopt", "modelopt_fp4")
METHODS = ("fp8", "fbgemm_fp8", "mxfp4", "gptq", "awq", "bitsandbytes", *GROUPED)
CACHES = {"FP8": "fp8", "INT8": "int8", "NVFP4": "nvfp4"}
_NOT_WEIGHTS = re.compile(r"norm|indexer|conv1d|bias|visual|vision|mtp|router|expert_gate")
_OBJECTS = {
    "attention_weights": re.compile(r"attn|attention|mixer\.(q|k|v|o|in|out)_proj"),
    "mlp_weights": re.compile(r"shared_expert|(mlp|ffn|feed_forward)[.*]*$|(mlp|ffn)\.\(?(gate_up|up|gate\||down)"),
    "expert_weights": re.compile(r"(?<!shared_)experts"),
}


def formats_of(reader: Reader, quantisation: Reader | None, layers: dict[str, int]) -> dict[str, str]:
    """The format of every object of a model; `layers` says how many layers have each kind of weights.

    `quantisation` is modelopt's own table where that lies beside the config. Half and single precision are two-byte
    formats once served, so both read as bf16. The embedding and the head stay in bf16.
    """
    reader.choice("torch_dtype|dtype", DTYPES, "bfloat16")
    objects = (*WEIGHTS, "embedding", "kv", "activations")
    formats = dict.fromkeys(objects, "bf16")
    for table in (reader.sub("quantization_config"), quantisation):
        if table is not None:
            formats.update(_quantised(table, layers))
            formats["kv"] = _cache_format(table, formats["kv"])
    return formats


def _quantised(table: Reader, layers: dict[str, int]) -> dict[str, str]:
    """Formats of weights and activations that one quantisation table sets."""
    weights, activations = _base(table)
    kept = _kept(table, layers)
    formats = {name: "bf16" if name in kept else weights for name in WEIGHTS}
    if table.text("quant_method", "") == "mxfp4":  # gpt-oss converts nothing but the experts
        formats.update(attention_weights="bf16", mlp_weights="bf16")
    listed = _listed(table)
    formats.update({name: pair[0] for name, pair in listed.items()})
    largest = "expert_weights" if layers["expert_weights"] else "mlp_weights"
    if largest in listed:
        activations = listed[largest][1]
    elif formats[largest] == "bf16":
        activations = "bf16"
    return {**formats, "activations": activations}


def _base(table: Reader) -> tuple[str, str]:
    """(weights, activations) of what a table does not list or except."""
    if table.has("quant_algo"):
        algorithm = table.text("quant_algo").upper()
        if algorithm != "MIXED_PRECISION":
            return _algorithm(table, "quant_algo", algorithm)
        if not table.has("quant_method") or table.text("quant_method").startswith("modelopt"):
            return "bf16", "bf16"
    return _by_method(table, table.choice("quant_method", METHODS)) if table.has("quant_method") else ("bf16", "bf16")


def _by_method(table: Reader, method: str) -> tuple[str, str]:
    """(weights, activations) of a `quant_method`; the integer methods quantise weights only."""
    if method in GROUPED:
        return _groups(table)
    if method in ("fp8", "fbgemm_fp8"):
        name = "fp8_block" if table.integers("weight_block_size", 1, 4096) else "fp8"
        return name, name
    if method == "mxfp4":
        return "mxfp4", "bf16"
    four_bits = table.flag("load_in_4bit", False) if method == "bitsandbytes" else _bits(table, "bits|w_bit") == 4
    return ("int4" if four_bits else "int8"), "bf16"


def _algorithm(table: Reader, key: str, algorithm: str) -> tuple[str, str]:
    if algorithm not in ALGORITHMS:
        raise table.fault(key, f"is {show(algorithm)}, which is not known", nearest(algorithm[:64], ALGORITHMS))
    return ALGORITHMS[algorithm]


def _bits(table: Reader, key: str) -> int:
    bits = table.integer(key, 1, 64)
    if bits not in (4, 8):
        raise table.fault(key.split("|", maxsplit=1)[0], f"is {bits}, expected 4 or 8")
    return bits


def _groups(table: Reader) -> tuple[str, str]:
    """The first group of `config_groups` (compressed-tensors)."""
    groups = table.sub("config_groups")
    name = next(iter(groups.raw), None) if groups is not None else None
    group = groups.sub(name) if groups is not None and name is not None else None
    weights = group.sub("weights") if group is not None else None
    if group is None or weights is None:
        raise table.fault("config_groups", "has no group with weights, expected one")
    bits, kind = _bits(weights, "num_bits"), weights.choice("type", ("int", "float"))
    if kind == "int":
        form = "int4" if bits == 4 else "int8"
    elif bits == 8:
        form = "fp8_block" if weights.text("strategy", "") in ("block", "group") else "fp8"
    else:
        form = "nvfp4" if weights.integer("group_size", 1, 4096, 16) == 16 else "mxfp4"
    return form, (ACTIVATIONS.get(form, "bf16") if group.has("input_activations") else "bf16")


def _kept(table: Reader, layers: dict[str, int]) -> set[str]:
    """Objects that a table excepts in more than half of the layers that have them."""
    excepted: dict[str, set[str]] = {name: set() for name in WEIGHTS}
    for module in _modules(table):
        for name in WEIGHTS:
            if not _NOT_WEIGHTS.search(module) and _OBJECTS[name].search(module):
                number = re.search(r"layers\.(\d+)\.", module)
                excepted[name].add(number[1] if number else "*")
    return {name for name, found in excepted.items() if "*" in found or 2 * len(found) > layers[name] > 0}


def _modules(table: Reader) -> list[str]:
    """Names, globs or expressions of the modules a table excepts, without the backslashes of an expression."""
    for key in ("exclude_modules", "ignore", "modules_to_not_convert"):
        if table.has(key):
            value = table.raw[key]
            if not isinstance(value, list):
                raise table.fault(key, f"is {show(value)}, expected a list of names")
            return [name.replace("\\", "") for name in value if isinstance(name, str) and len(name) <= 512]
    return []


def _listed(table: Reader) -> dict[str, tuple[str, str]]:
    """Objects that `quantized_layers` lists one by one: the format most of their modules have."""
    listed = table.sub("quantized_layers")
    votes: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in WEIGHTS}
    for module in listed.raw if listed is not None else ():
        for name in WEIGHTS:
            if listed is not None and len(module) <= 512 and _listed_in(name, module):
                entry = listed.sub(module)
                if entry is not None:
                    votes[name][_algorithm(entry, "quant_algo", entry.text("quant_algo").upper())] += 1
    return {name: found.most_common(1)[0][0] for name, found in votes.items() if found}


def _listed_in(name: str, module: str) -> bool:
    """Whether a listed module belongs to an object; a plain gate_proj is a feed-forward's here, never a router."""
    if _NOT_WEIGHTS.search(module):
        return False
    if name == "mlp_weights":
        return bool(re.search(r"(?<!\.experts)(mlp|shared_experts?)\.(gate|up|down)_proj", module))
    return bool(_OBJECTS[name].search(module))


def _cache_format(table: Reader, default: str) -> str:
    """The cache's format: a name, or a scheme of bits and type; null leaves it."""
    key = "kv_cache_quant_algo" if table.has("kv_cache_quant_algo") else "kv_cache_scheme"
    value = table.raw.get(key)
    if value is None:
        return default
    if isinstance(value, str):
        if value.upper() not in CACHES:
            raise table.fault(key, f"is {show(value)}, expected one of {', '.join(CACHES)} or null")
        return CACHES[value.upper()]
    scheme = table.sub(key)
    assert scheme is not None
    if _bits(scheme, "num_bits") == 4:
        return "nvfp4" if scheme.choice("type", ("int", "float")) == "float" else "int4"
    return "fp8" if scheme.choice("type", ("int", "float")) == "float" else "int8"
