"""stdout and stderr that nobody reads: what is written goes nowhere, and nothing ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdc.output import write

ROOT = Path(__file__).parents[3]


def test_a_reader_that_has_gone_is_no_error() -> None:
    """A pipe without a reader takes every text, and nothing is left to raise at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        for _ in range(3):
            write(output, "x" * 100_000)


def test_a_closed_file_is_no_error(tmp_path: Path) -> None:
    """Nor a stream that was closed."""
    output = (tmp_path / "log").open("w")
    write(output, "one\n")
    output.close()
    write(output, "two\n")

    assert (tmp_path / "log").read_text() == "one\n"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    """Started with closed streams, a process has /dev/null there and can write to them."""
    program = (
        "from cdc.output import hold_standard_descriptors as hold\n"
        "import os, sys\n"
        "hold()\n"
        "print('said'); print('said', file=sys.stderr); sys.stdin.read()\n"
        f"opened = open({str(tmp_path / 'opened')!r}, 'w')\n"
        "opened.write(str(opened.fileno()))\n"
    )
    command = f'exec "$0" -c "$1" {closed}'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, program],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr.replace(b"said\n", b"")) == (0, b"")
    assert int((tmp_path / "opened").read_text()) > 2
