"""The kernels that `dse measure` times, by PyTorch: CUDA graphs on a GPU, plain loops on the CPU.

A graph leaves no gap between launches. Operands rotate over copies that together exceed the last cache, so that each
call finds its own cold.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from math import ceil
from statistics import median
from time import perf_counter
from typing import Any

from dse.errors import EnvironmentProblem

CPU_CACHE = 2**25
"""Bytes of a CPU's last cache, which PyTorch does not tell."""
GPU_CACHE = 2**26
"""Bytes of a GPU's last cache where PyTorch does not tell it either."""
OVER = 2
"""Multiple of the last cache over which operands rotate."""
FEWEST_COPIES = 2
MOST_COPIES = {"cuda": 256, "cpu": 8}
"""A CPU's small operands stay in its cache: its times try the command, nothing is fitted to them."""
FEWEST_CALLS = 20
"""Calls in one measurement of something brief, so that the start of a graph weighs little."""
BRIEF = 5e-3
"""Seconds up to which a run of all copies is brief."""
REPEATS = 15
FEWEST_REPEATS = 3
LONGEST = 0.3
"""Seconds after which a shape is repeated no more."""
Call = Callable[[], object]


def open_runner(device: str | None) -> TorchRunner:
    """A device: "cuda", "cpu", or None for a GPU where there is one. PyTorch missing or no GPU: EnvironmentProblem."""
    try:
        torch: Any = import_module("torch")
    except ImportError:
        raise EnvironmentProblem("measure", "needs the package torch",
                                 "install the extra: pip install '.[measure]'") from None
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("--device cuda", "PyTorch finds no GPU", "measure the CPU with --device cpu")
    return TorchRunner(torch, device or ("cuda" if torch.cuda.is_available() else "cpu"))


class TorchRunner:
    """Median seconds of one call of a kernel on one device."""

    def __init__(self, torch: Any, device: str) -> None:
        self.torch, self.device = torch, device
        found = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", GPU_CACHE) if device == "cuda" else 0
        self.cache_bytes = int(found) or (GPU_CACHE if device == "cuda" else CPU_CACHE)
        self.title = str(torch.cuda.get_device_name(0)) if device == "cuda" else "CPU"

    def gemm(self, m: int, n: int, k: int) -> float:
        """C[m,n] = A[m,k] B[k,n] in bf16, B stored as a linear layer stores it."""
        def call() -> Call:
            a, b, c = self._random(m, k), self._random(n, k), self._random(m, n)
            return lambda: self.torch.mm(a, b.t(), out=c)

        return self._cold(call, 2 * (m * k + n * k + m * n))

    def decode(self, batch: int, q_heads: int, kv_heads: int, head_dim: int, kv_len: int) -> float:
        """One query for each sequence and head; heads that share keys are rows of one block, as kernels fold them."""
        attend = self.torch.nn.functional.scaled_dot_product_attention

        def call() -> Call:
            q = self._random(batch, kv_heads, q_heads // kv_heads, head_dim)
            k, v = (self._random(batch, kv_heads, kv_len, head_dim) for _ in range(2))
            return lambda: attend(q, k, v)

        return self._cold(call, 4 * batch * kv_heads * kv_len * head_dim)

    def copy(self, nbytes: int) -> float:
        """`nbytes` from one place of the device to another, always the same two."""
        def calls() -> list[Call]:
            source = self.torch.zeros(nbytes, dtype=self.torch.uint8, device=self.device)
            target = self.torch.empty_like(source)
            return [lambda: target.copy_(source)]

        return self._median(calls)

    def _random(self, *size: int) -> Any:
        """Normal numbers: zeros would draw less power, and a GPU's clock follows its power."""
        return self.torch.randn(size, dtype=self.torch.bfloat16, device=self.device)

    def _cold(self, call: Callable[[], Call], nbytes: int) -> float:
        """Seconds of a call with `nbytes` of operands that none of the calls just before it used."""
        copies = min(max(ceil(OVER * self.cache_bytes / nbytes) + 1, FEWEST_COPIES), MOST_COPIES[self.device])
        return self._median(lambda: [call() for _ in range(copies)])

    def _median(self, make: Callable[[], list[Call]]) -> float:
        try:
            with self.torch.inference_mode():
                calls = make()
                self._run(calls[:1])        # the first product of all loads libraries
                if self._run(calls) < BRIEF:
                    calls *= ceil(FEWEST_CALLS / len(calls))
                once = self._graph(calls) if self.device == "cuda" else lambda: self._run(calls)
                return median(_repeated(once)) / len(calls)
        except RuntimeError as problem:     # out of memory, or a kernel that the device does not have
            reason = (str(problem) or type(problem).__name__).splitlines()[0]
            raise EnvironmentProblem("measure", f"PyTorch cannot run a kernel ({reason})",
                                     "free the device's memory, or choose another with --device") from None

    def _run(self, calls: list[Call]) -> float:
        """Seconds of all calls, one after the other, and of their launches."""
        begin = perf_counter()
        for call in calls:
            call()
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        return perf_counter() - begin

    def _graph(self, calls: list[Call]) -> Callable[[], float]:
        """Seconds of all calls, replayed as one graph."""
        cuda = self.torch.cuda
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            for call in calls:
                call()

        def once() -> float:
            begin, end = (cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end)) / 1e3

        return once


def _repeated(once: Callable[[], float]) -> list[float]:
    """Times of repeats after one that warms up; fewer for what takes long."""
    begin = perf_counter()
    once()
    times: list[float] = []
    while len(times) < FEWEST_REPEATS or (len(times) < REPEATS and perf_counter() - begin < LONGEST):
        times.append(once())
    return times
