"""Data folders: a temporary one per server, and fresh ones kept to be copied.

Initialising MySQL takes seconds, copying what it made takes a fraction of one.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cdc.demo import fetch
from cdc.errors import UnavailableError

PREFIX = "cdc-server-"
INITIALISE_DEADLINE_S = 120.0


class Folder:
    """A temporary folder whose lock file says that its process lives.

    A process that was killed cannot clean up; the next one that makes a folder
    removes those whose lock nobody holds.
    """

    def __init__(self, name: str) -> None:
        """Make the folder, with ``name`` in its path."""
        _remove_abandoned()
        # Its prefix comes with the lock: until then it would pass for abandoned.
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}{name}-"))
        self._top = made.with_name(made.name.removeprefix("."))
        self._lock = (made / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        made.rename(self._top)
        self.path = self._top / f"{self._top.name.removeprefix(PREFIX)}"
        self.path.mkdir()

    def remove(self) -> None:
        """Remove everything in it."""
        shutil.rmtree(self._top, ignore_errors=True)
        self._lock.close()


def copy_template(program: fetch.Program, initialise: Callable[[Path], None], folder: Path) -> None:
    """Fill ``folder`` with a fresh data folder, made once for each version.

    Raises:
        UnavailableError: it cannot be made; with the end of the server's output.
    """
    template = fetch.servers_dir() / f"fresh-{program.name}-{program.version}"
    if not template.exists():
        with fetch.locked(f"{template.name}.lock"):
            if not template.exists():
                _make(template, initialise)
    run(["cp", "--recursive", "--reflink=auto", f"{template}/.", str(folder)])


def run(command: Sequence[str], stdin: str = "") -> None:
    """Run a command to its end.

    Raises:
        UnavailableError: it failed or took too long; with the end of its output.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=INITIALISE_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{command[0]} takes over {INITIALISE_DEADLINE_S:g} s") from None
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-20:])
        raise UnavailableError(f"{' '.join(command)} ended with code {done.returncode}\n{last}")


def _make(template: Path, initialise: Callable[[Path], None]) -> None:
    made, partial = (template.with_name(f"{template.name}.{end}") for end in ("made", "partial"))
    for folder in (made, partial):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    initialise(made)
    # 150 MB that are zeros but for a few: with holes for them, a copy takes a tenth of the time.
    run(["cp", "--recursive", "--sparse=always", f"{made}/.", str(partial)])
    shutil.rmtree(made)
    partial.rename(template)


def _remove_abandoned() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        try:
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:
            # Held by a living process, or another user's.
            continue
