"""The catalogue checks itself: what is derived agrees, and what is broken is found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dse.catalogue import paths
from dse.catalogue.checks import disagreements, hardware_checks, workload_checks
from dse.catalogue.models import model_names, published
from dse.cli.main import run


def test_every_published_total_is_met() -> None:
    findings = workload_checks()
    assert not disagreements(findings)
    with_total = {f"workloads/models/{name}" for name in model_names() if published(name).total_b is not None}
    assert {f.item for f in findings if f.check == "parameters"} == with_total


def test_every_hardware_file_loads_under_its_own_name() -> None:
    findings = hardware_checks()
    assert not [f for f in disagreements(findings) if f.check in ("loads", "name", "cores.matrix_clock")]
    assert {f.check for f in findings} >= {"loads", "name", "scale_up.bandwidth_both_ways", "cores.matrix_clock"}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's own, laid out like the repository, with a copy of one chip and one model."""
    (tmp_path / "hardware/accelerators").mkdir(parents=True)
    shutil.copy(paths.find("hardware/accelerators", "h100_sxm"), tmp_path / "hardware/accelerators/h100_sxm.toml")
    source = paths.find("workloads/models", "llama-3.1-8b", "/config.json").parent
    shutil.copytree(source, tmp_path / "workloads/models/llama-3.1-8b")
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path))
    return tmp_path


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize(("file", "old", "new", "check"), [
    ("hardware/accelerators/h100_sxm.toml", '"900 GB/s"', '"800 GB/s"', "scale_up.bandwidth_both_ways"),
    ("hardware/accelerators/h100_sxm.toml", 'name = "h100_sxm"', 'name = "h100"', "name"),
    ("hardware/accelerators/h100_sxm.toml", '"1.83 GHz"', '"1.6 GHz"', "cores.matrix_clock"),
    ("hardware/accelerators/h100_sxm.toml", '"3.35 TB/s"', '"3.35 TB"', "loads"),
    ("workloads/models/llama-3.1-8b/config.json", '"num_hidden_layers": 32', '"num_hidden_layers": 30', "parameters"),
    ("workloads/models/llama-3.1-8b/config.json", '"llama"', '"lama"', "loads"),
])
def test_what_is_broken_is_found(own: Path, file: str, old: str, new: str, check: str,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    _edit(own / file, old, new)
    half = file.split("/", maxsplit=1)[0]
    item = file.removesuffix(".toml").removesuffix("/config.json")
    assert run(("catalogue", "check", half, "--json")) == 5
    found = json.loads(capsys.readouterr().out)
    assert (item, check) in {(f["item"], f["check"]) for f in found["findings"] if not f["agrees"]}
    assert found["disagree"] == sum(not f["agrees"] for f in found["findings"])
    assert run(("catalogue", "check", half)) == 5
    assert item in capsys.readouterr().out


def test_list_survives_a_file_that_does_not_load(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "hardware/accelerators/h100_sxm.toml").write_text("kind = ", "utf-8")
    assert run(("catalogue", "list", "hardware")) == 0
    out = capsys.readouterr().out
    assert "chip h100_sxm does not load" in out
    assert "h200_sxm" in out


def test_models_alone_check_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("catalogue", "check", "workloads")) == 0
    assert "all agree" in capsys.readouterr().out
