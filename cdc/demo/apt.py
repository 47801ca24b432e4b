"""Debian packages, downloaded and unpacked into a folder without root.

apt-get runs with directories of its own, so it neither asks for root nor touches
the machine's packages.  The address of the package site comes from the machine's
own apt configuration.  Nothing is installed and no package script runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdc.demo.package_client import PackageError, Say, retry, run

KEYRINGS = Path("/usr/share/keyrings")
"""Where Debian keeps the keys that sign its archive."""


def sites() -> list[str]:
    """Return the addresses of the machine's package sites, likeliest first.

    Raises:
        PackageError: there is no apt-get, or it knows no site.

    Source: apt-get(8), indextargets.
    """
    listing = run(
        "apt-get", "indextargets", "--format", "$(COMPONENT) $(REPO_URI)", "Created-By: Packages"
    )
    pairs = [line.split(maxsplit=1) for line in listing.splitlines()]
    found = dict.fromkeys(pair[1] for pair in pairs if len(pair) == 2 and pair[0] == "main")
    if not found:
        raise PackageError("apt-get knows no package site with a component 'main'")
    # A security archive has the same shape but not the suite; trying it first costs a download.
    return sorted(found, key=lambda site: "security" in site)


class PackageSite:
    """apt-get with directories of its own, looking at the suite on one site."""

    def __init__(self, folder: Path, suite: str) -> None:
        """Look at ``suite`` (``sid``); lists and downloads are kept in ``folder``."""
        self._suite = suite
        self._folder = folder.absolute()
        self._list = self._folder / "sources.list"
        self._status = self._folder / "status"

    def open(self, say: Say) -> None:
        """Choose the first site of the machine that offers the suite, and read its lists.

        Raises:
            PackageError: no site offers it; names what each one answered.
        """
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._status.write_text("")
        refusals = []
        for site in sites():
            self._list.write_text(f"deb {_signed_by()}{site} {self._suite} main\n")
            try:
                retry(say, lambda: self._apt("update", "--error-on=any"))
            except PackageError as error:
                refusals.append(str(error))
            else:
                return
        raise PackageError(
            f"no package site offers the suite {self._suite}:\n" + "\n".join(refusals)
        )

    def download(self, packages: Sequence[str], into: Path, say: Say) -> list[Path]:
        """Download ``packages`` and everything they need; return the .deb files.

        Raises:
            PackageError: after three attempts, with the end of apt-get's output.
        """
        (into / "partial").mkdir(parents=True, exist_ok=True)
        archives = f"Dir::Cache::archives={into.absolute()}"
        command = ("-o", archives, "install", "--download-only", *packages)
        retry(say, lambda: self._apt(*command))
        return sorted(into.glob("*.deb"))

    def download_alone(self, package: str, into: Path, say: Say) -> list[Path]:
        """Download a package without what it needs; return its .deb file.

        Raises:
            PackageError: after three attempts, with the end of apt-get's output.
        """
        into.mkdir(parents=True, exist_ok=True)
        # It has no option for the folder; _apt's own folders are absolute.
        retry(say, lambda: self._apt("download", package, folder=into))
        return sorted(into.glob("*.deb"))

    def _apt(self, *arguments: str, folder: Path | None = None) -> str:
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
        inside = ("env", f"--chdir={folder.absolute()}") if folder else ()
        return run(*inside, "apt-get", "--yes", "--quiet=2", *flags, *arguments)


def unpack(packages: Sequence[Path], into: Path) -> None:
    """Unpack .deb files over each other into ``into``.

    Raises:
        PackageError: a file is broken, or there is no dpkg-deb.
    """
    into.mkdir(parents=True, exist_ok=True)
    for package in packages:
        run("dpkg-deb", "--extract", str(package), str(into))


def _signed_by() -> str:
    for name in ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp"):
        if (KEYRINGS / name).exists():
            return f"[signed-by={KEYRINGS / name}] "
    return ""
