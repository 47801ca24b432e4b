"""Three servers of a test's own, because it stops at nothing; and what a run came to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cdc.demo.servers import MariaDB
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import Bench
from tests.support.models import Models
from tests.support.tally import TALLY

FOLDER = Path(__file__).parent
AT_LEAST = {"SIGKILL": 200, "cut": 200, "restart": 50}
"""Of each in a run of the whole folder."""
NAMES = {"SIGKILL": "SIGKILLs", "cut": "cut connections", "restart": "server restarts"}
RECOVERY_S = 10.0


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """A table of 99 rows on MySQL, and nothing on NATS and Redis."""
    return Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)


@pytest.fixture
def proxied(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> Iterator[Bench]:
    """The same, and the pipeline reaches each server through a proxy."""
    mysql = new_mysql(options=("--sync-binlog=0",))
    bench = Bench(mysql, new_nats(), new_redis(), tmp_path, proxied=True)
    yield bench
    bench.close()


@pytest.fixture(params=["mysql", "mysql without gtids", "mariadb"])
def source(
    request: pytest.FixtureRequest,
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """A pipeline on each kind of source."""
    folder = tmp_path_factory.mktemp("logs")
    with ExitStack() as stack:
        if request.param == "mariadb":
            server: object = stack.enter_context(MariaDB())
        else:
            server = new_mysql(gtid=request.param == "mysql", options=("--sync-binlog=0",))
        yield Bench(server, new_nats(), new_redis(), folder)  # type: ignore[arg-type]


@pytest.fixture(params=[1, 3])
def models(
    request: pytest.FixtureRequest,
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path: Path,
) -> Models:
    """Rows in each table, and nothing on NATS and Redis."""
    mysql = new_mysql(options=("--sync-binlog=0",))
    return Models(mysql, new_nats().url, new_redis().port, tmp_path, request.param)


def _too_few(session: pytest.Session) -> list[str]:
    """Return what a run of the whole folder did too little of."""
    ran = {item.path for item in session.items if FOLDER in item.path.parents}
    is_whole = ran == set(FOLDER.glob("test_*.py")) and not getattr(session, "some_left_out", False)
    if not is_whole or session.testsfailed or session.config.option.collectonly:
        return []
    out = [
        f"{TALLY.of[what]} {NAMES[what]}, {least} are wanted"
        for what, least in AT_LEAST.items()
        if TALLY.of[what] < least
    ]
    if TALLY.median_s() >= RECOVERY_S:
        out.append(f"recovery takes {TALLY.median_s():.1f} s in the median")
    return out


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note that not all is run."""
    if items:
        items[0].session.some_left_out = True  # type: ignore[attr-defined]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of the whole folder that did too little harm."""
    if _too_few(session):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the faults came to."""
    if not TALLY.of and not TALLY.recoveries_s:
        return
    terminalreporter.section("faults")
    counts = ", ".join(f"{TALLY.of[what]} {name}" for what, name in NAMES.items())
    terminalreporter.line(counts)
    for fault, times_s in sorted(TALLY.recoveries_s.items()):
        terminalreporter.line(f"  {max(times_s):6.2f} s at most ({len(times_s):2d}) {fault}")
    terminalreporter.line(f"recovery: median {TALLY.median_s():.2f} s")
    for line in _too_few(terminalreporter._session):
        terminalreporter.line(f"too few faults: {line}", red=True)
