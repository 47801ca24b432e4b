"""How often the tests repeat each fault: the environment variable ``DEPTH``.

``normal``, the default, injects every kind of fault once or a few times, with a new seed in each
run.  ``full`` repeats faults more often, reads more rows and searches deeper.
"""

from __future__ import annotations

import os

from hypothesis import settings

VARIABLE = "DEPTH"
NORMAL, FULL = "normal", "full"


def depth() -> str:
    """Return ``normal`` or ``full``.

    Raises:
        ValueError: ``DEPTH`` has another value.
    """
    value = os.environ.get(VARIABLE) or NORMAL
    if value not in (NORMAL, FULL):
        raise ValueError(f"{VARIABLE} is {NORMAL!r} or {FULL!r}, not {value!r}")
    return value


def by_depth(normal: int, full: int) -> int:
    """Return the number of repetitions of this run: ``by_depth(4, full=18)``."""
    return full if depth() == FULL else normal


# On a busy machine, code under coverage exceeds the default deadline of an example.
settings.register_profile(NORMAL, max_examples=30, deadline=None)
settings.register_profile(FULL, max_examples=100, deadline=None)
