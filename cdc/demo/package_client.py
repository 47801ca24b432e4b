"""What the clients of package registries share: one is run, and tried again."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable

ATTEMPTS = 3
RETRY_PAUSE_S = 2.0
COMMAND_DEADLINE_S = 600.0

Say = Callable[[str], None]


class PackageError(Exception):
    """Raised when a package cannot be brought or unpacked; says by which program and why."""


def run(*command: str) -> str:
    """Run a program of the machine to its end; return what it printed.

    Raises:
        PackageError: it is not there, failed, or took too long; with the end of its output.
    """
    program = shutil.which(command[0])
    if program is None:
        raise PackageError(f"{command[0]} is not on this machine")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise PackageError(f"{command[0]} did not end within {COMMAND_DEADLINE_S:g} s") from None
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise PackageError(f"{command[0]} ended with code {done.returncode}: {last}")
    return done.stdout


def retry(say: Say, action: Callable[[], str]) -> None:
    """Do it, up to three times.

    Raises:
        PackageError: of the last time.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            action()
        except PackageError as error:
            if attempt == ATTEMPTS:
                raise
            say(f"{error}; attempt {attempt + 1} of {ATTEMPTS} in {RETRY_PAUSE_S:g} s")
            time.sleep(RETRY_PAUSE_S)
        else:
            return
