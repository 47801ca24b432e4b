"""stdout and stderr of a process that outlives their reader.

A log reader that ends closes the pipe, a daemon may be started without stderr at all; neither
is a reason to stop replicating.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

_MODES = ("r", "w", "w")


def hold_standard_descriptors() -> None:
    """Open /dev/null in the place of every closed one of stdin, stdout and stderr.

    Else the next file or socket gets its number, and a child process takes that for its stderr.
    Python has None for a stream that was closed at its start.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)
    for number, (stream, mode) in enumerate(zip(streams, _MODES, strict=True)):
        try:
            os.fstat(number)
        except OSError:
            _discard(number)
        if stream is None:  # typeshed has no None here
            opened = os.fdopen(number, mode, closefd=False)
            setattr(sys, ("stdin", "stdout", "stderr")[number], opened)


def write(output: TextIO, text: str) -> None:
    r"""Write a text and flush it; once its reader has gone, discard it and all that follows.

    ``write(sys.stderr, f"{line}\n")``
    """
    try:
        output.write(text)
        output.flush()
    except OSError:
        # Not only this text: what is left in the buffer would raise again at each flush.
        with suppress(OSError, ValueError):
            _discard(output.fileno())
            output.flush()
    except ValueError:
        pass  # it is closed


def discard_stdout() -> None:
    """Let all that still comes on stdout go nowhere: its reader has gone."""
    with suppress(OSError):
        _discard(sys.stdout.fileno())


def _discard(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
