"""What a run of the fault tests came to: printed at its end, and failed where it was too little.

A plugin of pytest, named by tests/conftest.py.  Where pytest-xdist spreads the tests over
processes, each hands its counts to the one that prints.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.depth import VARIABLE, VARIANTS, by_depth, depth
from tests.support.tally import TALLY

FOLDER = Path(__file__).parents[1] / "fault"
AT_LEAST = {
    "SIGKILL": by_depth(100, full=200),
    "cut": by_depth(40, full=200),
    "restart": by_depth(15, full=50),
}
"""Of each in a run of the whole folder."""
NAMES = {"SIGKILL": "SIGKILLs", "cut": "cut connections", "restart": "server restarts"}
RECOVERY_S = 10.0
_IS_WHOLE = pytest.StashKey[bool]()
_TALLY = "tally"
"""Of what a process hands over: counts, recoveries, and whether it saw the whole folder."""


def pytest_report_header() -> str:
    """Print how deep the run is, and the seed of its combinations."""
    return f"{VARIABLE}={depth()} {VARIANTS}={os.environ[VARIANTS]}"


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note that not all is run."""
    for item in items[:1]:
        item.session.stash[_IS_WHOLE] = False


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note whether every file of the fault tests is run."""
    ran = {item.path for item in session.items if FOLDER in item.path.parents}
    session.stash.setdefault(_IS_WHOLE, ran == set(FOLDER.glob("test_*.py")))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a process of pytest-xdist did."""
    handed = getattr(node, "workeroutput", {}).get(_TALLY)
    if handed is not None:
        counts, recoveries_s, is_whole = handed
        TALLY.add(counts, recoveries_s)
        node.config.stash[_IS_WHOLE] = is_whole


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what was done; fail a run of the whole folder that did too little harm."""
    config = session.config
    config.stash.setdefault(_IS_WHOLE, session.stash.get(_IS_WHOLE, False))
    handed = getattr(config, "workeroutput", None)
    if handed is not None:
        handed[_TALLY] = (dict(TALLY.of), TALLY.recoveries_s, config.stash[_IS_WHOLE])
    elif not session.testsfailed and _too_few(config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what the faults came to."""
    if not TALLY.of and not TALLY.recoveries_s:
        return
    terminalreporter.section("faults")
    counts = ", ".join(f"{TALLY.of[what]} {name}" for what, name in NAMES.items())
    terminalreporter.line(counts)
    for fault, times_s in sorted(TALLY.recoveries_s.items()):
        terminalreporter.line(f"  {max(times_s):6.2f} s at most ({len(times_s):2d}) {fault}")
    terminalreporter.line(f"recovery: median {TALLY.median_s():.2f} s")
    for line in _too_few(config):
        terminalreporter.line(f"too few faults: {line}", red=True)


def _too_few(config: pytest.Config) -> list[str]:
    """Return what a run of the whole folder did too little of."""
    if not config.stash.get(_IS_WHOLE, False) or config.option.collectonly:
        return []
    out = [
        f"{TALLY.of[what]} {NAMES[what]}, {least} are wanted"
        for what, least in AT_LEAST.items()
        if TALLY.of[what] < least
    ]
    if TALLY.median_s() >= RECOVERY_S:
        out.append(f"recovery takes {TALLY.median_s():.1f} s in the median")
    return out
