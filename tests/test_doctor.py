"""What `dse doctor` finds, what it calls broken, and what only some commands need."""

from __future__ import annotations

import json
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from dse.cli import doctor
from dse.cli.main import run


def checks(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, dict[str, Any]]:
    """What the doctor looked for, by name."""
    assert run(["doctor", "--json"]) == code
    out, err = capsys.readouterr()
    assert not err
    found = json.loads(out)
    assert found["healthy"] is (code == 0)
    return {check["name"]: check for check in found["checks"]}


def test_healthy_place_has_packages_data_and_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    found = checks(capsys)
    assert found["numpy"]["found"] == metadata.version("numpy")
    assert int(found["chips"]["found"]) > 40
    assert int(found["models"]["found"]) > 60
    assert {found[name]["found"] for name in ("engines", "launch commands")} == {"4", "3"}
    assert not any(check["problem"] for check in found.values())


def test_page_names_everything_within_80_columns(capsys: pytest.CaptureFixture[str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert run(["doctor"]) == 0
    page = capsys.readouterr().out
    assert "pip install 'dse[hub]'" in " ".join(page.split())
    assert "0 broken" in page
    assert all(len(line) <= 80 for line in page.splitlines() if "/" not in line)


def test_every_extra_has_a_purpose() -> None:
    pyproject = Path(__file__).parent.parent / "pyproject.toml"
    extras = set(tomllib.loads(pyproject.read_text("utf-8"))["project"]["optional-dependencies"])
    assert extras - {"test", "lint"} <= set(doctor.EXTRAS)


def test_missing_extra_is_no_fault(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = checks(capsys)
    assert found["dse[hub]"]["found"] == ""
    assert "hf:ORG/NAME" in found["dse[hub]"]["purpose"]


def test_missing_package_that_everything_needs_is_a_fault(capsys: pytest.CaptureFixture[str],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(doctor, "version", version)
    assert checks(capsys, 6)["rich"]["broken"]


def test_file_that_does_not_load_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies/systems").mkdir(parents=True)
    (tmp_path / "studies/systems/mine.toml").write_text("kind = ", "utf-8")
    monkeypatch.setenv("DSE_CATALOGUE", str(tmp_path))
    found = checks(capsys, 6)
    assert "mine.toml" in found["techniques and their studies"]["problem"]
    assert run(["doctor", "--quiet"]) == 6
    assert "mine.toml" in capsys.readouterr().out


def test_folder_that_is_not_there_is_named_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSE_CATALOGUE", str(tmp_path / "nowhere"))
    assert "nowhere" in checks(capsys, 6)["$DSE_CATALOGUE"]["problem"]


def test_quiet_doctor_of_a_healthy_place_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
