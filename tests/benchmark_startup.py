"""How long the commands take in a fresh process: `python tests/benchmark_startup.py [repeats]`.

Prints the least and the median wall time of each; quiet cores make the two meet. The aims are 0.3 s for help and
0.8 s for one evaluation.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LLAMA = ["evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", "--tp", "8"]
TRAFFIC = ["--concurrency", "64", "--input-tokens", "2048", "--output-tokens", "256"]
COMMANDS = {
    "dse --version": (["--version"], 0.3),
    "dse --help": (["--help"], 0.3),
    "dse evaluate --help": (["evaluate", "--help"], 0.8),
    "dse evaluate, dense, 1 plan": ([*LLAMA, *TRAFFIC], 0.8),
    "dse evaluate, experts, 1 plan": (["evaluate", "deepseek-v3", "--hardware", "h200_sxm", "--tp", "8", "--ep", "8",
                                       *TRAFFIC], 0.8),
}


def wall(args: list[str]) -> float:
    """Seconds from starting a process to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dse.cli.main", *args], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Time every command and print one line each."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(f"{'command':32}{'least s':>9}{'median s':>10}{'aim s':>8}")
    for name, (args, aim) in COMMANDS.items():
        times = [wall(args) for _ in range(repeats)]
        print(f"{name:32}{min(times):9.3f}{statistics.median(times):10.3f}{aim:8.1f}")


if __name__ == "__main__":
    main()
