"""How often the tests repeat each fault: the environment variable ``DEPTH``.

``normal``, the default, injects every kind of fault once or a few times, with a new seed in each
run.  ``full`` repeats faults more often, reads more rows and searches deeper.  ``VARIANTS`` is the
seed of the combinations that a normal run has of tests with several parameters.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Sequence

from hypothesis import settings

VARIABLE = "DEPTH"
NORMAL, FULL = "normal", "full"
VARIANTS = "VARIANTS"
# Set here, before pytest-xdist starts its processes: all of them collect the same tests.
os.environ.setdefault(VARIANTS, str(random.SystemRandom().randrange(1 << 16)))


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


def variants(*parameters: Sequence[str]) -> list[tuple[str, ...]]:
    """Return combinations of values: all of them at full depth, else each value at least once.

    ``variants(("all", "only"), ("1", "3"))`` is ``[("only", "1"), ("all", "3")]`` in one run.
    """
    if depth() == FULL:
        return list(itertools.product(*parameters))
    chance = random.Random(int(os.environ[VARIANTS]))
    mixed = [chance.sample(values, len(values)) for values in parameters]
    return [
        tuple(values[number % len(values)] for values in mixed)
        for number in range(max(map(len, mixed)))
    ]


# On a busy machine, code under coverage exceeds the default deadline of an example.
settings.register_profile(NORMAL, max_examples=30, deadline=None)
settings.register_profile(FULL, max_examples=100, deadline=None)
