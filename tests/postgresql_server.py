"""A PostgreSQL server of its own for tests: on a free port of the loopback, in a folder that goes with it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

OWNER = "postgres"


def missing(reason: str) -> NoReturn:
    """Skip, saying why; where a server is required it is a failure."""
    if "postgresql" in os.environ.get("DSE_REQUIRE", "").split(","):
        pytest.fail(f"DSE_REQUIRE names postgresql, but {reason}")
    print(f"skipped: {reason}")
    pytest.skip(reason)


def binaries() -> Path:
    """The folder of initdb and pg_ctl, the newest there is."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: int(f.parent.name))
    if found is not None:
        return Path(found).resolve().parent
    if not folders or not (folders[-1] / "initdb").is_file():
        missing("no PostgreSQL server is installed")
    return folders[-1]


class Server:
    """A running server, its address, and means to stop and start it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.bin = folder, port, binaries()
        self.run("initdb", "-D", str(folder / "data"), "-U", OWNER, "-A", "trust", "--no-sync", "-E", "UTF8")

    def address(self, database: str) -> str:
        """The storage address of a database."""
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs; the server refuses root, so as its own user there."""
        user = ("runuser", "-u", OWNER, "--") if os.geteuid() == 0 else ()
        done = subprocess.run([*user, str(self.bin / program), *arguments], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, cwd=self.folder, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def start(self) -> None:
        """Start it, on the loopback and a socket of its own folder alone."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options, "-w",
                 "start")

    def stop(self) -> None:
        """Stop it at once."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def create(self, database: str) -> str:
        """Make a database; its address."""
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER, database)
        return self.address(database)

    def sql(self, database: str, statement: str) -> None:
        """Run a statement."""
        self.run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER, "-d", database, "-v", "ON_ERROR_STOP=1",
                 "-c", statement)


@contextmanager
def server() -> Iterator[Server]:
    """A server for the block; what it wrote is removed after it."""
    with tempfile.TemporaryDirectory(prefix="dse-postgresql-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        if os.geteuid() == 0:
            try:
                os.chown(folder, pwd.getpwnam(OWNER).pw_uid, -1)
            except KeyError:
                missing(f"root cannot run a PostgreSQL server and there is no user {OWNER}")
        made = Server(folder, free_port())
        made.start()
        try:
            yield made
        finally:
            made.stop()


def free_port() -> int:
    """A port of the loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
