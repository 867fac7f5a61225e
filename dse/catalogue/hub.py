"""A model straight from the HuggingFace hub: `hf:ORG/NAME`, of which config.json alone is fetched, once.

The file stays in the hub's own cache folder ($HF_HUB_CACHE, or ~/.cache/huggingface/hub), and from then on no network
is needed. $HF_ENDPOINT names another hub, $HF_TOKEN opens gated models.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from dse.catalogue.json_reader import MAX_BYTES
from dse.errors import EnvironmentProblem, InputError

PREFIX = "hf:"
FILE = "config.json"
PATIENCE = 10.0
"""Seconds that the hub has for an answer."""
_NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@(?P<revision>[\w./-]{1,100}))?",
                   re.ASCII)


def is_hub_name(name: str) -> bool:
    """Whether a model's name means the hub."""
    return name.startswith(PREFIX)


def hub_config(name: str, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """The config.json of `hf:ORG/NAME` (or `hf:ORG/NAME@REVISION`) on disk, fetched where it was not yet.

    endpoint: address of the hub, without it $HF_ENDPOINT or the public one. Raises InputError for a model that is not
    there, EnvironmentProblem where package, network or permission is missing.
    """
    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None:
        raise InputError("model", f"{name[:80]!r} is no name of the hub",
                         "expected hf:ORG/NAME or hf:ORG/NAME@REVISION")
    if find_spec("huggingface_hub") is None:
        raise EnvironmentProblem(name, "needs the package huggingface_hub", "pip install 'dse[hub]'")
    repo, revision = match["repo"], match["revision"]
    held = _held(repo, revision, cache)
    return held or _fetched(name, repo, revision, endpoint or os.environ.get("HF_ENDPOINT") or None, cache)


def _held(repo: str, revision: str | None, cache: Path | None) -> Path | None:
    """The file in the cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, FILE, cache_dir=_folder(cache), revision=revision)
    return Path(found) if isinstance(found, str) else None


def _fetched(name: str, repo: str, revision: str | None, endpoint: str | None, cache: Path | None) -> Path:
    import huggingface_hub as hub
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()     # one small file
    try:
        url = hub.hf_hub_url(repo, FILE, revision=revision, endpoint=endpoint)
        size = hub.get_hf_file_metadata(url, timeout=PATIENCE, endpoint=endpoint).size
        if size is None or size > MAX_BYTES:
            told = "unknown" if size is None else f"{size:,} B"
            raise InputError(name, f"{FILE} has a size of {told}, expected at most {MAX_BYTES // 2**20} MiB")
        return Path(hub.hf_hub_download(repo, FILE, revision=revision, endpoint=endpoint, cache_dir=_folder(cache),
                                        etag_timeout=PATIENCE))
    except InputError:
        raise
    except Exception as problem:
        _refuse(name, problem)


def _refuse(name: str, problem: Exception) -> NoReturn:
    """The hub's answer, or its silence, as one line."""
    from huggingface_hub import errors

    status = getattr(getattr(problem, "response", None), "status_code", None)
    if isinstance(problem, errors.GatedRepoError) or status == 403:
        raise EnvironmentProblem(name, "is gated: the hub does not give it to everybody",
                                 "accept its terms on the hub, then set HF_TOKEN") from None
    if isinstance(problem, errors.RepositoryNotFoundError):
        raise InputError(name, "no such model on the hub, or a private one", "check the name; HF_TOKEN opens private "
                         "ones") from None
    if isinstance(problem, errors.RevisionNotFoundError):
        raise InputError(name, "has no such revision", "leave @REVISION out for the newest") from None
    if isinstance(problem, errors.EntryNotFoundError) and not isinstance(problem, errors.LocalEntryNotFoundError):
        raise InputError(name, f"holds no {FILE}", "give the model that it was made from") from None
    reason = f"status {status}" if status else type(problem).__name__
    raise EnvironmentProblem(name, f"the hub cannot be reached ({reason}), and nothing is kept of it",
                             "try again with a network, or give the path of a config.json") from None


def _folder(cache: Path | None) -> str | None:
    """The cache folder; the hub's package reads the variable only once, when it is imported."""
    return str(cache) if cache is not None else os.environ.get("HF_HUB_CACHE") or None
