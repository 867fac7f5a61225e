"""Seconds of single operations on one device of a system, for scripts and for comparing with measurements.

All numeric arguments broadcast. Operands are cold, as in a benchmark that rotates its buffers.
"""

from __future__ import annotations

import numpy as np

from dse.equations.attention import causal_pairs, kv_bytes
from dse.equations.num import Number
from dse.errors import InputError, nearest
from dse.model import kernels
from dse.model.collectives import KINDS, collective
from dse.model.system import System
from dse.plan.cells import check_cell
from dse.plan.formats import ACTIVATIONS, FORMATS, KV, WEIGHTS, check_format, element_bytes

PHASES = ("prefill", "decode")
_COUNT = {"low": 1.0, "high": 2.0**40, "whole": False, "choices": (), "optional": False}
_BYTES = {**_COUNT, "low": 0.0, "high": 2.0**60}


def gemm_time(system: System, m: Number, n: Number, k: Number, dtype: str = "bf16") -> Number:
    """Seconds of C[m,n] = A[m,k] B[k,n] with B stored as `dtype` and A in the format served with it.

    A quantised product includes the separate operator that quantises A, as the measured tables do.
    """
    check_format(dtype, WEIGHTS, "dtype")
    m, n, k = (check_cell(v, _COUNT, name) for v, name in ((m, "m"), (n, "n"), (k, "k")))
    activations = FORMATS[dtype].activations
    product = kernels.gemm(system, "gemm", m, n, k, dtype, activations).time
    return _plain(product + kernels.quantise(system, "gemm", m, k, dtype, activations).time)


def attention_time(system: System, phase: str, batch: Number, q_heads: Number, kv_heads: Number, head_dim: Number,
                   q_len: Number, kv_len: Number, dtype: str = "bf16", kv_dtype: str = "bf16") -> Number:
    """Seconds of attention on one device: `q_len` new positions at the end of `kv_len`, causal.

    phase "prefill" takes many queries a sequence, "decode" one (q_len is then 1). dtype: 16 bits; other formats are
    widened by the kernel before they multiply.
    """
    if phase not in PHASES:
        raise InputError("phase", f"unknown value {phase!r}", nearest(phase, PHASES))
    check_format(dtype, ACTIVATIONS, "dtype")
    check_format(kv_dtype, KV, "kv_dtype")
    names = ("batch", "q_heads", "kv_heads", "head_dim", "q_len", "kv_len")
    batch, q_heads, kv_heads, head_dim, q_len, kv_len = (
        check_cell(v, _COUNT, name) for v, name in zip((batch, q_heads, kv_heads, head_dim, q_len, kv_len), names,
                                                       strict=True))
    if phase == "decode":
        return _plain(kernels.decode_attention(system, "attention", batch, q_heads, kv_heads, head_dim, kv_len,
                                               kv_dtype).time)
    nbytes = batch * (q_len * 2 * (q_heads + kv_heads) * head_dim * 2.0
                      + kv_bytes(1, kv_len, kv_heads, head_dim, element_bytes(kv_dtype)))
    return _plain(kernels.prefill_attention(system, "attention", batch, q_heads, q_len, causal_pairs(q_len, kv_len),
                                            kv_len, (head_dim, head_dim), nbytes).time)


def collective_time(system: System, kind: str, ranks: Number, nbytes: Number) -> Number:
    """Seconds of a collective of `ranks` neighbouring devices.

    kind: all_reduce, all_gather, reduce_scatter, all_to_all or p2p. nbytes: input per rank of all_reduce and
    reduce_scatter, output of all_gather, what one rank sends in all for all_to_all, the message for p2p.
    """
    if kind not in KINDS:
        raise InputError("kind", f"no such collective: {kind!r}", nearest(kind, KINDS))
    ranks, nbytes = check_cell(ranks, _COUNT, "ranks"), check_cell(nbytes, _BYTES, "nbytes")
    if kind == "p2p" and np.any(np.asarray(ranks) != 2):
        raise InputError("ranks", "p2p joins exactly 2 ranks")
    return _plain(collective(system, kind, kind, ranks, nbytes).time)


def _plain(value: Number) -> Number:
    return float(value) if np.ndim(value) == 0 else value
