"""`dse measure`: what it measures within its time, what it writes, and how that fits calibrate and the laws."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dse.catalogue.systems import load_system
from dse.cli.main import run
from dse.errors import EnvironmentProblem
from dse.ops import attention_time, gemm_time
from dse.validation import measure_torch
from dse.validation.measure import KINDS, LAYERS, MOST_WORK, MS, as_csv, compare, measure_all, plateaus, shapes
from dse.validation.tables.user import load_csv

TORCH = importlib.util.find_spec("torch") is not None
CHIP = "h200_sxm"


class LawfulDevice:
    """A device whose products take what the laws say times `off`; each call takes a second of its clock."""

    def __init__(self, device: str = "cuda", off: float = 1.25, per_call: float = 1.0) -> None:
        self.system = load_system(CHIP)
        self.device, self.off, self.per_call, self.now = device, off, per_call, 0.0
        self.cache_bytes = int(self.system.chip.cache_bytes)

    def gemm(self, m: int, n: int, k: int) -> float:
        self.now += self.per_call
        return self.off * float(gemm_time(self.system, m, n, k))

    def decode(self, batch: int, q_heads: int, kv_heads: int, head_dim: int, kv_len: int) -> float:
        self.now += self.per_call
        return self.off * float(attention_time(self.system, "decode", batch, q_heads, kv_heads, head_dim, 1, kv_len))

    def copy(self, nbytes: int) -> float:
        self.now += self.per_call
        return 2e-6 + 2 * nbytes / (8e12 if 4 * nbytes <= self.cache_bytes else 4e12)

    def clock(self) -> float:
        return self.now


def whole(chip: str | None = CHIP, off: float = 1.25) -> dict[str, pd.DataFrame]:
    """Tables of a measurement that had all the time it needed."""
    return measure_all(LawfulDevice(off=off), 1e9, chip)


@pytest.fixture
def lawful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command measures a lawful device."""
    monkeypatch.setattr(measure_torch, "open_runner", lambda device: LawfulDevice(device or "cuda"))


@pytest.mark.parametrize("device", MOST_WORK)
def test_every_kind_has_distinct_shapes_within_the_devices_bounds(device: str) -> None:
    flops, nbytes = MOST_WORK[device]
    for kind in KINDS:
        found = shapes(kind, device)
        assert len({tuple(s.items()) for s in found}) == len(found) > 5
    assert max(2 * s["m"] * s["n"] * s["k"] for s in shapes("gemm", device)) <= flops
    assert max(4 * s["batch"] * s["kv_heads"] * s["kv_len"] * s["head_dim"]
               for s in shapes("attention", device)) <= nbytes
    assert 2 * max(s["nbytes"] for s in shapes("copy", device)) <= nbytes


def test_a_gpu_gets_every_product_and_time_that_runs_out_leaves_a_sample() -> None:
    assert len(shapes("gemm", "cuda")) == len(MS) * len(LAYERS)
    beginning = shapes("gemm", "cuda")[:20]
    assert len({s["m"] for s in beginning}) > 5
    assert len({(s["n"], s["k"]) for s in beginning}) > 5


@pytest.mark.parametrize("seconds", [1.0, 30.0, 60.0])
def test_measuring_stops_when_its_time_is_over(seconds: float) -> None:
    device = LawfulDevice()
    tables = measure_all(device, seconds, None, device.clock)
    assert seconds <= device.now <= max(seconds + 1, len(KINDS))
    assert all(len(table) for table in tables.values())
    if seconds == 60.0:
        assert [len(tables[kind]) for kind in KINDS] == [30, 21, 9]


def test_what_one_kind_leaves_unspent_the_next_ones_have() -> None:
    device = LawfulDevice(per_call=0.1)
    tables = measure_all(device, 60.0, None, device.clock)
    assert [len(tables[kind]) for kind in KINDS] == [len(shapes(kind, "cuda")) for kind in KINDS]


@pytest.mark.parametrize("kind", ["gemm", "attention"])
def test_calibrate_reads_what_measure_writes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.csv"
    for chip in (CHIP, None):
        table = whole(chip)[kind]
        path.write_bytes(as_csv(table))
        loaded, dropped = load_csv(path, kind, CHIP if chip is None else None)
        assert dropped == {}
        np.testing.assert_allclose(loaded["time_s"], table["time_us"] / 1e6, rtol=1e-4)


def test_the_comparison_says_by_how_much_predictions_are_off() -> None:
    for off in (1.0, 1.25, 2.0):
        for summary in compare(whole(off=off), CHIP).values():
            assert summary.mape == pytest.approx(1 - 1 / off, abs=1e-6)
            assert summary.bias == pytest.approx(1 / off - 1, abs=1e-6)


def test_copies_show_the_plateaus_of_cache_and_memory() -> None:
    found = plateaus(whole()["copy"], LawfulDevice().cache_bytes)
    assert found["memory"] == pytest.approx(4e12, rel=0.02)
    assert 4e12 < found["cache"] <= 8e12
    assert plateaus(whole()["copy"].head(1), 1.0).keys() == {"memory"}


def test_the_command_writes_its_files_and_says_the_errors(tmp_path: Path, lawful: None,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("measure", "-o", str(tmp_path / "new"), "--chip", CHIP)) == 0
    out = capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["attention.csv", "copy.csv", "gemm.csv"]
    assert re.search(r"gemm: 110 rows, error 20\.0 % \(median 20\.0, bias -20\.0\)", out)
    assert "attention: " in out
    assert re.search(r"copies in memory: (3\.99|4) TB/s read and written, catalogue 4\.8 TB/s", out)


def test_a_cpu_under_a_chips_name_is_said_to_be_one(tmp_path: Path, lawful: None,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("measure", "-o", str(tmp_path), "--chip", CHIP, "--device", "cpu")) == 0
    assert f"the CPU was measured, not {CHIP}" in capsys.readouterr().out


def test_files_without_a_chip_have_no_such_column_and_no_comparison(tmp_path: Path, lawful: None,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("measure", "-o", str(tmp_path))) == 0
    assert "predicted" not in capsys.readouterr().out
    assert (tmp_path / "gemm.csv").read_text("utf-8").startswith("dtype,m,n,k,time_us\n")


def test_a_measured_chip_can_be_calibrated(tmp_path: Path, lawful: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("measure", "-o", str(tmp_path), "--chip", CHIP)) == 0
    assert run(("calibrate", str(tmp_path / "gemm.csv"), "-o", str(tmp_path / "chip.toml"))) == 0
    assert "gemm.efficiency = " in capsys.readouterr().out
    assert (tmp_path / "chip.toml").exists()


BAD = {
    "device": (("--device", "cudaa"), "--device", "'cuda'"),
    "chip": (("--chip", "h200_smx"), "--chip", "'h200_sxm'"),
    "no time": (("--seconds", "0"), "--seconds", "from 1 to 3600"),
    "time that is no number": (("--seconds", "nan"), "--seconds", "from 1 to 3600"),
    "folder in no folder": (("-o", "nowhere/deeper"), "nowhere", "folder"),
    "folder that is a file": (("-o", __file__), "test_measure.py", "folder"),
    "no folder": ((), "--output", "folder"),
}


@pytest.mark.parametrize(("args", "where", "hint"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_before_anything_is_measured(args: tuple[str, ...], where: str, hint: str,
                                                           tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = () if "-o" in args or not args else ("-o", str(tmp_path))
    assert run(("measure", *args, *folder)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert where in err
    assert hint in err


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(measure_torch, "import_module", absent)
    assert run(("measure", "-o", str(tmp_path))) == 6
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "[measure]" in err


def test_a_cpu_is_not_taken_for_a_gpu_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure_torch, "open_runner", lambda device: LawfulDevice("cpu"))
    assert run(("measure", "-o", str(tmp_path), "--chip", CHIP)) == 6
    assert "finds no GPU" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class FakeGpu:
    """As much of PyTorch as the timing of a GPU asks for: a call takes 2 us, a graph the sum of what it captured.

    `calls` has the operands of every call so far, `captured` those of the last graph.
    """

    bfloat16 = uint8 = None

    def __init__(self, cache_bytes: int) -> None:
        self.cuda, self.nn, self.functional = self, self, self
        self.L2_cache_size, self.now, self.made = cache_bytes, 0.0, 0
        self.calls: list[object] = []
        self.captured: list[object] = []

    def mm(self, a: FakeGpu.Tensor, b: FakeGpu.Tensor, out: FakeGpu.Tensor) -> None:
        self.calls.append((a.name, b.name, out.name))

    def randn(self, size: tuple[int, ...], dtype: object, device: str) -> FakeGpu.Tensor:
        self.made += 1
        return FakeGpu.Tensor(self.made)

    def get_device_properties(self, index: int) -> FakeGpu:
        return self

    def synchronize(self) -> None:
        """Nothing is under way."""

    def get_device_name(self, index: int) -> str:
        return "fake"

    def inference_mode(self) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def graph(self, graph: object) -> Iterator[None]:
        before = len(self.calls)
        yield
        self.captured = self.calls[before:]

    def CUDAGraph(self) -> FakeGpu:  # noqa: N802 - PyTorch's name
        return self

    def replay(self) -> None:
        self.now += 2e-3 * len(self.captured)

    def Event(self, enable_timing: bool) -> FakeGpu.Moment:  # noqa: N802 - PyTorch's name
        return FakeGpu.Moment(self)

    class Tensor:
        """Operands, by number."""

        def __init__(self, name: int) -> None:
            self.name = name

        def t(self) -> FakeGpu.Tensor:
            return self

    class Moment:
        """A point of the fake GPU's time, in ms."""

        def __init__(self, gpu: FakeGpu) -> None:
            self.gpu, self.at = gpu, 0.0

        def record(self) -> None:
            self.at = self.gpu.now

        def synchronize(self) -> None:
            """Nothing is under way."""

        def elapsed_time(self, end: FakeGpu.Moment) -> float:
            return end.at - self.at


@pytest.mark.parametrize(("cache", "copies"), [(2**26, 33), (2**16, 2)])
def test_a_gpu_rotates_operands_over_twice_its_cache(cache: int, copies: int) -> None:
    gpu = FakeGpu(cache)
    assert measure_torch.TorchRunner(gpu, "cuda").gemm(512, 1024, 1024) == pytest.approx(2e-6)
    nbytes = 2 * (2 * 512 * 1024 + 1024 * 1024)
    assert len(set(gpu.captured)) == copies
    assert (copies - 1) * nbytes >= 2 * cache
    assert len(gpu.captured) >= measure_torch.FEWEST_CALLS
    for first in range(len(gpu.captured) - copies + 1):
        assert len(set(gpu.captured[first:first + copies])) == copies       # each again only after all others


@pytest.fixture(scope="module")
def cpu() -> measure_torch.TorchRunner:
    """The CPU by PyTorch."""
    if not TORCH:
        pytest.skip("torch is not installed: pip install '.[measure]'")
    return measure_torch.open_runner("cpu")


def test_pytorch_times_every_kernel_on_the_cpu(cpu: measure_torch.TorchRunner) -> None:
    assert 0 < cpu.gemm(4, 64, 64) < 1
    assert 0 < cpu.decode(2, 4, 2, 64, 128) < 1
    assert 0 < cpu.copy(4096) < 1


def test_the_cpu_is_measured_from_end_to_end(cpu: measure_torch.TorchRunner, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("measure", "-o", str(tmp_path), "--device", "cpu", "--seconds", "1")) == 0
    for kind in KINDS:
        table = pd.read_csv(tmp_path / f"{kind}.csv")
        assert len(table)
        assert (table["time_us"] > 0).all()
    assert "gemm: " in capsys.readouterr().out


def test_a_device_without_room_is_an_environment_problem(cpu: measure_torch.TorchRunner) -> None:
    with pytest.raises(EnvironmentProblem, match="PyTorch cannot run a kernel"):
        cpu.copy(2**60)
