"""Models from the hub: one small file, fetched once; tested against a server on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dse import load_model
from dse.catalogue import hub
from dse.catalogue.paths import data_roots
from dse.cli.main import run

pytest.importorskip("huggingface_hub")
CONFIG = (data_roots()[-1] / "workloads/models/llama-3.1-8b/config.json").read_bytes()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ON = ("--hardware", "h100_sxm", "--batch", "1", "--input-tokens", "100", "--output-tokens", "10")
BIG = b" " * (3 * 2**20)


class Hub(BaseHTTPRequestHandler):
    """A hub of five models: an honest one, a gated one, a private one, one without config, one too large."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        type(self).asked.append(f"{self.command} {self.path}")
        name = "/".join(self.path.split("/")[1:3])
        if name == "org/gated":
            return self._refuse(403, "GatedRepo", "Access to model org/gated is restricted")
        if name == "org/broken":
            return self._refuse(500, "", "out of order")
        if name == "org/empty":
            return self._refuse(404, "EntryNotFound", "Entry not found")
        if name not in ("org/good", "org/large"):
            return self._refuse(404, "RepoNotFound", "Repository not found")
        content = CONFIG if name == "org/good" else BIG
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on loopback with an empty cache; what it was asked for."""
    kind = type("OwnHub", (Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    yield kind.asked    # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


def error(capsys: pytest.CaptureFixture[str], name: str, code: int) -> str:
    """The one line that a model's name is refused with."""
    assert run(["evaluate", name, *ON]) == code
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_model_of_the_hub_is_the_model_of_its_config(asked: list[str]) -> None:
    found, own = load_model("hf:org/good"), load_model("llama-3.1-8b")
    assert (found.layers, found.hidden, found.formats) == (own.layers, own.hidden, own.formats)
    assert found.name == "hf:org/good"
    assert asked
    assert {line.split()[1] for line in asked if "/org/" in line} == {"/org/good/resolve/main/config.json"}


def test_what_was_fetched_once_needs_no_network(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    load_model("hf:org/good")
    before = len(asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")     # nobody answers there
    assert load_model("hf:org/good").hidden == 4096
    assert len(asked) == before


def test_model_of_the_hub_evaluates_and_is_named_in_the_document(asked: list[str],
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "hf:org/good", *ON, "--json"]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert json.loads(out)["model"]["name"] == "hf:org/good"


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("name", "code", "words"), [
    ("hf:org/missing", 2, "no such model"), ("hf:org/empty", 2, "holds no config.json"),
    ("hf:org/large", 2, "at most 2 MiB"), ("hf:org/gated", 6, "HF_TOKEN"), ("hf:org/broken", 6, "status 500"),
    ("hf:noorg", 2, "hf:ORG/NAME"), ("hf:../etc/passwd", 2, "hf:ORG/NAME"), ("hf:a/b/c", 2, "hf:ORG/NAME"),
    ("hf:", 2, "hf:ORG/NAME"), ("hf:org/" + "x" * 10_000, 2, "hf:ORG/NAME"), ("hf:org/good\n", 2, "hf:ORG/NAME")])
def test_each_refusal_is_one_line_with_its_code(name: str, code: int, words: str,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    assert words in error(capsys, name, code)


def test_no_network_is_the_environments_fault(asked: list[str], monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in error(capsys, "hf:org/good", 6)


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    assert "dse[hub]" in error(capsys, "hf:org/good", 6)
