"""Real servers for every test that asks for one, started when first asked for.

A server that cannot be brought fails the test that needs it: a skipped test would
look like a passed one.
"""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import ParamSpec, Protocol, TypeVar

import pytest
from hypothesis import settings

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL, MySQL80, Nats, Redis, Server
from tests.support.depth import depth
from tests.support.in_memory import place_data_in_memory

pytest_plugins = ["tests.support.fault_report", "tests.support.order"]

P = ParamSpec("P")
S = TypeVar("S", bound=Server)


settings.load_profile(depth())
place_data_in_memory()
# A shell that runs us in the background has us ignore Ctrl-C, and what we start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


PERFORMANCE_SCHEMA = "--performance-schema=ON"
"""As where users run it; `cdc check` asks it about sessions."""


class NewMySQL(Protocol):
    """Starts one more MySQL, which is closed with the test."""

    def __call__(self, gtid: bool = True, options: Sequence[str] = ()) -> MySQL: ...


class NewNats(Protocol):
    """Starts one more NATS, which is closed with the test."""

    def __call__(self, options: Mapping[str, object] | str = "") -> Nats: ...


class NewRedis(Protocol):
    """Starts one more Redis, which is closed with the test."""

    def __call__(self, args: Sequence[str] = ()) -> Redis: ...


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQL]:
    """MySQL with GTIDs, shared: use a schema of your own, and never stop it."""
    with MySQL(options=(PERFORMANCE_SCHEMA,)) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """MariaDB, shared: use a schema of your own, and never stop it."""
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def mysql80() -> Iterator[MySQL80]:
    """An early MySQL 8.0, shared: use a schema of your own, and never stop it."""
    with MySQL80(options=(PERFORMANCE_SCHEMA,)) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb1011() -> Iterator[MariaDB1011]:
    """MariaDB 10.11, shared: use a schema of your own, and never stop it."""
    with MariaDB1011() as server:
        yield server


SQL_SERVERS = ("mysql", "mysql80", "mariadb", "mariadb1011")
"""Names of the fixtures of the servers that cdc reads from."""


@pytest.fixture(scope="session", params=SQL_SERVERS)
def any_server(request: pytest.FixtureRequest) -> MySQL | MariaDB:
    """Each server that cdc reads from, shared, one after the other."""
    server: MySQL | MariaDB = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def nats() -> Iterator[Nats]:
    """NATS with JetStream, shared: use a stream of your own, and never stop it."""
    with Nats() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """Redis, shared: use keys of your own, and never stop it."""
    with Redis() as server:
        yield server


@pytest.fixture
def new_mysql() -> Iterator[NewMySQL]:
    """Start MySQL servers for this test alone."""
    with ExitStack() as stack:
        yield _starting(stack, MySQL)


@pytest.fixture
def new_nats() -> Iterator[NewNats]:
    """Start NATS servers for this test alone."""
    with ExitStack() as stack:
        yield _starting(stack, Nats)


@pytest.fixture
def new_redis() -> Iterator[NewRedis]:
    """Start Redis servers for this test alone."""
    with ExitStack() as stack:
        yield _starting(stack, Redis)


@pytest.fixture
def fresh_schema(mysql: MySQL) -> Iterator[str]:
    """Name of a new, empty database on the shared MySQL; dropped with the test."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield name
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")


def _starting(stack: ExitStack, kind: Callable[P, S]) -> Callable[P, S]:
    """Return ``kind`` as a factory whose servers are started, and closed by ``stack``."""

    def start(*args: P.args, **kwargs: P.kwargs) -> S:
        server = kind(*args, **kwargs)
        stack.enter_context(server)
        return server

    return start
