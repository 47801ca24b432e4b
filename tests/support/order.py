"""Start the longest tests first, so that a run does not end with one process still busy.

A pytest plugin, loaded by tests/conftest.py.  ``pytest-xdist --dist worksteal`` gives each process
one contiguous part of the list of tests; this plugin begins each part with the longest tests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

LONGEST = (
    "test_crash_points.py",
    "test_verify.py",
    "test_lost_writes.py",
    "test_backfill.py",
    "test_restarts.py",
    "test_links.py",
    "test_clocks.py",
    "test_cluster.py",
    "test_partitions.py",
    "test_main_job.py",
    "test_readme.py",
    "test_far.py",
    "test_config.py",
    "test_managed_redis.py",
)
"""Files with tests that take half a minute or more."""
FOLDERS = ("fault", "model", "acceptance", "integration", "unit")
"""Folders of tests/, those with the longest tests first."""
ALONE = ("fault", "model", "acceptance")
"""Folders whose tests share no fixtures; elsewhere the tests of a file run in one process."""


class Test(Protocol):
    """What this plugin uses of a `pytest.Item`."""

    @property
    def path(self) -> Path: ...


T = TypeVar("T", bound=Test)


def dealt(tests: Sequence[T], processes: int) -> list[T]:
    """Return the tests in an order that splits into equal parts, each with its longest first."""
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
    """Order the tests for the processes of pytest-xdist; without it the order is unchanged."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = dealt(items, processes)
