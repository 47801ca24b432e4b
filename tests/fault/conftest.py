"""Three servers of a test's own, because it stops at nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import SOURCES, Bench
from tests.support.models import Models


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


@pytest.fixture(params=SOURCES)
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
