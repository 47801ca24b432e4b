"""Debian packages, downloaded and unpacked into a folder without root.

apt-get runs with directories of its own, so it neither asks for root nor touches
the machine's packages.  The address of the package site comes from the machine's
own apt configuration.  Nothing is installed and no package script runs.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SUITE = "sid"
"""The suite whose MySQL is 9.7; its packages bring their own C library along."""

KEYRINGS = Path("/usr/share/keyrings")
"""Where Debian keeps the keys that sign its archive."""

ATTEMPTS = 3
RETRY_PAUSE_S = 2.0
COMMAND_DEADLINE_S = 600.0

Say = Callable[[str], None]


class AptError(Exception):
    """Raised when apt-get or dpkg-deb cannot do its part; says which and why."""


def sites() -> list[str]:
    """Return the addresses of the machine's package sites, likeliest first.

    Raises:
        AptError: there is no apt-get, or it knows no site.

    Source: apt-get(8), indextargets.
    """
    listing = _run(
        "apt-get", "indextargets", "--format", "$(COMPONENT) $(REPO_URI)", "Created-By: Packages"
    )
    pairs = [line.split(maxsplit=1) for line in listing.splitlines()]
    found = dict.fromkeys(pair[1] for pair in pairs if len(pair) == 2 and pair[0] == "main")
    if not found:
        raise AptError("apt-get knows no package site with a component 'main'")
    # A security archive has the same shape but not the suite; trying it first costs a download.
    return sorted(found, key=lambda site: "security" in site)


class PackageSite:
    """apt-get with directories of its own, looking at the suite on one site."""

    def __init__(self, folder: Path) -> None:
        """Keep lists and downloads in ``folder``; nothing is downloaded yet."""
        self._folder = folder.absolute()
        self._list = self._folder / "sources.list"
        self._status = self._folder / "status"

    def open(self, say: Say) -> None:
        """Choose the first site of the machine that offers the suite, and read its lists.

        Raises:
            AptError: no site offers it; names what each one answered.
        """
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._status.write_text("")
        refusals = []
        for site in sites():
            self._list.write_text(f"deb {_signed_by()}{site} {SUITE} main\n")
            try:
                _retry(say, lambda: self._apt("update", "--error-on=any"))
            except AptError as error:
                refusals.append(str(error))
            else:
                return
        raise AptError(f"no package site offers the suite {SUITE}:\n" + "\n".join(refusals))

    def download(self, packages: Sequence[str], into: Path, say: Say) -> list[Path]:
        """Download ``packages`` and everything they need; return the .deb files.

        Raises:
            AptError: after three attempts, with the end of apt-get's output.
        """
        (into / "partial").mkdir(parents=True, exist_ok=True)
        archives = f"Dir::Cache::archives={into.absolute()}"
        command = ("-o", archives, "install", "--download-only", *packages)
        _retry(say, lambda: self._apt(*command))
        return sorted(into.glob("*.deb"))

    def _apt(self, *arguments: str) -> str:
        options = {
            "Dir::State": self._folder / "state",
            "Dir::State::status": self._status,
            "Dir::Cache": self._folder / "cache",
            "Dir::Etc::SourceList": self._list,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Default-Release": "",
            "APT::Install-Recommends": "false",
            "Acquire::Retries": "3",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        }
        flags = [flag for name, value in options.items() for flag in ("-o", f"{name}={value}")]
        return _run("apt-get", "--yes", "--quiet=2", *flags, *arguments)


def unpack(packages: Sequence[Path], into: Path) -> None:
    """Unpack .deb files over each other into ``into``.

    Raises:
        AptError: a file is broken, or there is no dpkg-deb.
    """
    into.mkdir(parents=True)
    for package in packages:
        _run("dpkg-deb", "--extract", str(package), str(into))


def _signed_by() -> str:
    for name in ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp"):
        if (KEYRINGS / name).exists():
            return f"[signed-by={KEYRINGS / name}] "
    return ""


def _retry(say: Say, action: Callable[[], str]) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            action()
        except AptError as error:
            if attempt == ATTEMPTS:
                raise
            say(f"{error}; attempt {attempt + 1} of {ATTEMPTS} in {RETRY_PAUSE_S:g} s")
            time.sleep(RETRY_PAUSE_S)
        else:
            return


def _run(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        raise AptError(f"{command[0]} is not on this machine")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise AptError(f"{command[0]} did not end within {COMMAND_DEADLINE_S:g} s") from None
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise AptError(f"{command[0]} ended with code {done.returncode}: {last}")
    return done.stdout
