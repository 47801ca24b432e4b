"""The longest tests first, so that the end of a run is not one process alone.

A plugin of pytest, named by tests/conftest.py.  ``pytest-xdist --dist worksteal`` gives each
process a part of the list, one after the other; here each part begins with tests that take long.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

LONGEST = (
    "test_crash_points.py",
    "test_backfill.py",
    "test_restarts.py",
    "test_links.py",
    "test_clocks.py",
    "test_cluster.py",
    "test_partitions.py",
    "test_config.py",
    "test_managed_redis.py",
)
"""Files with tests of half a minute and more."""
FOLDERS = ("fault", "model", "acceptance", "integration", "unit")
"""Of tests/, by the time that one test takes."""
ALONE = ("fault", "model", "acceptance")
"""Folders whose tests share nothing; of the others a file stays together with its fixtures."""


class Test(Protocol):
    """What is looked at of a `pytest.Item`."""

    @property
    def path(self) -> Path: ...


T = TypeVar("T", bound=Test)


def dealt(tests: Sequence[T], processes: int) -> list[T]:
    """Return the tests as that many parts of about the same number, the longest first in each."""
    units: dict[object, list[T]] = {}
    for number, test in enumerate(sorted(tests, key=_rank)):
        is_alone = test.path.parent.name in ALONE
        units.setdefault(number if is_alone else test.path, []).append(test)
    parts: list[list[T]] = [[] for _ in range(processes)]
    for unit in units.values():
        min(parts, key=len).extend(unit)
    return [test for part in parts for test in part]


def _rank(test: Test) -> tuple[int, int]:
    name, folder = test.path.name, test.path.parent.name
    return (
        LONGEST.index(name) if name in LONGEST else len(LONGEST),
        FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS),
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the tests to the processes of pytest-xdist; a run without it keeps its order."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = dealt(items, processes)
