"""Every finding about MySQL and MariaDB, provoked for real, and gone once its fix has been run."""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal

import pymysql
import pytest
from pymysql.constants import COMMAND

from cdc.check.finding import Finding
from cdc.demo.servers import MariaDB, MariaDB1011, MySQL, MySQL80, start_together
from cdc.mysql.session import SESSION_SQL
from cdc.position import Position
from cdc.table import Table
from cdc.url import parse_url
from cdc_reader.binlog.source import Source
from cdc_reader.catalog.source_check import ServerFacts, set_variable
from cdc_reader.rows.select_codec import CONNECTION, SelectCodec
from cdc_reader.snapshot import table_size
from cdc_reader.snapshot.table_size import MESSAGE_BYTES
from tests.conftest import PERFORMANCE_SCHEMA, SQL_SERVERS, NewMySQL
from tests.support.checking import check, found, run_sql, with_file
from tests.support.following import Follower
from tests.support.logins import replication_rights
from tests.support.pipeline import wait_for
from tests.support.proxy import Proxy

SqlServer = MySQL | MariaDB
NON_BLOCK = 1
"""BINLOG_DUMP_NON_BLOCK: the server ends the dump at the end of its binlog."""
UNKNOWN_USER = "mysql://nobody@127.0.0.1:"


@pytest.fixture(scope="module")
def odd() -> Iterator[dict[str, SqlServer]]:
    """One server of each kind and release, whose settings these tests turn."""
    kinds: tuple[SqlServer, ...] = (
        MySQL(options=(PERFORMANCE_SCHEMA,)),
        MySQL80(options=(PERFORMANCE_SCHEMA,)),
        MariaDB(),
        MariaDB1011(),
    )
    servers = {server.name: server for server in kinds}
    with ExitStack() as stack:
        start_together(stack, *servers.values())
        for server in servers.values():
            sql(
                server,
                "CREATE DATABASE shop",
                "CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(90))",
            )
        yield servers
        for server in servers.values():
            assert server.is_running, f"{server.name} ended: {server.log_tail(80)}"


@pytest.fixture(params=SQL_SERVERS)
def server(request: pytest.FixtureRequest, odd: dict[str, SqlServer]) -> SqlServer:
    """Each of them, one after the other."""
    return odd[request.param]


@pytest.fixture(params=["mysql", "mysql80"])
def a_mysql(request: pytest.FixtureRequest, odd: dict[str, SqlServer]) -> SqlServer:
    """Each MySQL."""
    return odd[request.param]


@pytest.fixture(params=["mariadb", "mariadb1011"])
def a_mariadb(request: pytest.FixtureRequest, odd: dict[str, SqlServer]) -> SqlServer:
    """Each MariaDB."""
    return odd[request.param]


def sql(server: SqlServer, *statements: str) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def login(server: SqlServer, grant: str) -> str:
    """Return the URL of a new user that may follow the binlog, and has one right more."""
    user = f"u{uuid.uuid4().hex[:8]}"
    sql(
        server,
        f"CREATE USER {user}@'%' IDENTIFIED BY 'pw'",
        f"GRANT {replication_rights(server)} ON *.* TO {user}@'%'",
        f"GRANT {grant} TO {user}@'%'",
    )
    return f"mysql://{user}:pw@127.0.0.1:{server.port}"


def findings(server: SqlServer | str, *tables: str, **flags: Any) -> dict[str, Finding]:
    return found(check(server, tables=tables or ("shop.users",), **flags), "mysql")


def made(server: SqlServer, definition: str) -> str:
    """Return a new table of that definition."""
    name = f"shop.t_{uuid.uuid4().hex[:8]}"
    sql(server, f"CREATE TABLE {name} ({definition})")
    return name


def test_a_server_that_is_set_up_well_has_no_findings(server: SqlServer) -> None:
    """And its table is measured."""
    sql(server, "REPLACE INTO shop.users VALUES (1, REPEAT('a', 80))")
    report = check(server, tables=("shop.users",))
    size = report.sizes["shop.users"]

    assert found(report, "mysql") == {}
    assert (size.rows, size.is_exact) == (1, True)
    assert size.largest_bytes is not None
    assert 200 < size.largest_bytes < 400
    kind = "MariaDB" if isinstance(server, MariaDB) else "MySQL"
    assert report.servers["mysql"].startswith(f"{kind} {server.version}")


SETTINGS = {
    "mysql": [
        ("binlog_format", "'MIXED'", "'ROW'"),
        ("server_id", "0", "1"),
        ("binlog_expire_logs_seconds", "3600", "2592000"),
    ],
    "mariadb": [
        ("binlog_format", "'MIXED'", "'ROW'"),
        ("binlog_expire_logs_seconds", "3600", "0"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "variable", "value", "default"),
    [
        (kind, *setting)
        for kind in SQL_SERVERS
        for setting in SETTINGS["mariadb" if kind.startswith("mariadb") else "mysql"]
    ],
)
def test_a_setting(
    odd: dict[str, SqlServer], kind: str, variable: str, value: str, default: str
) -> None:
    """Its statement sets it right."""
    server = odd[kind]
    name = {"binlog_expire_logs_seconds": "binlog-retention"}.get(
        variable, variable.replace("_", "-")
    )
    sql(server, f"SET GLOBAL {variable} = {value}")
    try:
        (finding,) = findings(server).values()
        assert finding.id == f"mysql.{name}"
        assert finding.stops == (name != "binlog-retention")
        run_sql(server, finding)
        assert findings(server) == {}
    finally:
        sql(server, f"SET GLOBAL {variable} = {default}")


def test_binlogs_must_outlast_the_first_reading(a_mysql: SqlServer) -> None:
    """A retention of a day and a second is enough for this table; see the unit test for others."""
    sql(a_mysql, "SET GLOBAL binlog_expire_logs_seconds = 86401")
    try:
        assert findings(a_mysql) == {}
    finally:
        sql(a_mysql, "SET GLOBAL binlog_expire_logs_seconds = 2592000")


def test_gtids_can_be_switched_on_by_the_statements(a_mysql: SqlServer) -> None:
    """In steps; off again, also in steps."""
    mysql = a_mysql
    sql(mysql, *(f"SET GLOBAL gtid_mode = {m}" for m in ("ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF")))
    sql(mysql, "SET GLOBAL enforce_gtid_consistency = OFF")

    (finding,) = findings(mysql).values()
    assert (finding.id, finding.stops) == ("mysql.gtid-mode", False)
    run_sql(mysql, finding)
    assert findings(mysql) == {}


def test_prepared_xa_transactions(server: SqlServer) -> None:
    """Each is named so that the statement ends it; ids of any bytes."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("XA START 'a''b', X'00ff', 7")
        cursor.execute(f"INSERT INTO shop.users VALUES ({uuid.uuid4().int % 10**9}, 'x')")
        cursor.execute("XA END 'a''b', X'00ff', 7")
        cursor.execute("XA PREPARE 'a''b', X'00ff', 7")
    (finding,) = findings(server).values()

    assert (finding.id, finding.stops, finding.fix.is_invasive) == ("mysql.xa", False, True)
    run_sql(server, finding)
    assert findings(server) == {}


def test_a_number_that_a_replica_has(a_mysql: SqlServer) -> None:
    """A replica that has registered, and the server itself; without the setting it is gone.

    The replica leaves as each does, with a dump: one that does not stays a dead pointer in
    MySQL 8.0.15's list, and the next test that has it listed ends the server.
    """
    mysql = a_mysql
    with mysql.connect() as replica:
        replica.cursor().execute(
            "SET @source_binlog_checksum = 'NONE', @master_binlog_checksum = 'NONE'"
        )
        raw: Any = replica
        raw._execute_command(
            COMMAND.COM_REGISTER_SLAVE, struct.pack("<IBBBHII", 4711, 0, 0, 0, 0, 0, 0)
        )
        raw._read_packet()
        (finding,) = findings(mysql, server_id=4711).values()
        assert (finding.id, finding.stops) == ("mysql.server-id-taken", True)
        assert list(findings(mysql, server_id=1)) == ["mysql.server-id-taken"]
        assert findings(mysql, server_id=4712) == findings(mysql) == {}
        raw._execute_command(COMMAND.COM_BINLOG_DUMP, struct.pack("<IHI", 4, NON_BLOCK, 4711))
        while not raw._read_packet().is_eof_packet():
            pass
    assert findings(mysql, server_id=4711) == {}


def test_filters_of_a_replica(a_mysql: SqlServer) -> None:
    """Said; the statements take them away."""
    mysql = a_mysql
    source, replica = ("MASTER", "SLAVE") if mysql.name == "mysql80" else ("SOURCE", "REPLICA")
    verb = "MASTER" if mysql.name == "mysql80" else "REPLICATION SOURCE"
    sql(
        mysql,
        f"CHANGE {verb} TO {source}_HOST = '127.0.0.1', {source}_PORT = 1",
        "CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = (crm), REPLICATE_DO_TABLE = (shop.users)",
    )
    try:
        (finding,) = findings(mysql).values()
        assert (finding.id, finding.stops) == ("mysql.replica-filter", False)
        run_sql(mysql, finding)
        assert findings(mysql) == {}
    finally:
        sql(mysql, f"STOP {replica}", f"RESET {replica} ALL")


def test_sessions_that_keep_the_old_format(a_mysql: SqlServer) -> None:
    """Told by MySQL with the rights for it; the statement ends them."""
    mysql = a_mysql
    with mysql.connect() as old, old.cursor() as cursor:
        cursor.execute("SET SESSION binlog_format = 'MIXED'")
        cursor.execute("SELECT CONNECTION_ID()")
        (number,) = cursor.fetchone() or (0,)
        (finding,) = findings(mysql).values()
        assert (finding.id, finding.stops) == ("mysql.sessions", False)
        assert finding.fix.sql == (f"KILL {number};",)
        run_sql(mysql, finding)
        wait_for("the session to end", lambda: findings(mysql) == {})
        old._force_close()  # type: ignore[attr-defined]  # not in the stubs
        old.connect()


# -- rights and tables -----------------------------------------------------------------


def test_rights(server: SqlServer) -> None:
    """The printed GRANTs are all that lacks; the user's name needs quotes."""
    user = f"o'{uuid.uuid4().hex[:8]}"
    account = "'" + user.replace("'", "''") + "'@'127.0.0.1'"
    sql(
        server,
        f"CREATE USER {account} IDENTIFIED BY 'pw'",
        f"GRANT INSERT ON shop.users TO {account}",
    )
    url = f"mysql://{user}:pw@127.0.0.1:{server.port}"
    lacking = findings(url)

    assert set(lacking) == {"mysql.rights", "mysql.select"}
    for finding in lacking.values():
        run_sql(server, finding)
    assert findings(url) == {}


def test_a_table_of_a_thousand_columns_is_measured(server: SqlServer) -> None:
    """A sum of as many terms would overrun the stack of the server's parser."""
    numbers = ", ".join(f"n{n} INT" for n in range(900))
    texts = ", ".join(f"t{n} TINYTEXT" for n in range(100))
    table = made(server, f"id INT PRIMARY KEY, {numbers}, {texts}")

    assert "mysql.unreadable" not in findings(server, table)
    assert [found_id for found_id, f in findings(server, table).items() if f.stops] == []


def test_asking_twice_leaves_the_server_alive(any_server: SqlServer) -> None:
    """MySQL 8.0.15 keeps a dead pointer of who registered as a replica, and dies when asked."""
    schema = f"d_{uuid.uuid4().hex[:8]}"
    sql(any_server, f"CREATE DATABASE {schema}", f"CREATE TABLE {schema}.t (id INT PRIMARY KEY)")
    for _ in range(3):
        found_ids = set(findings(any_server, f"{schema}.t"))
        assert not found_ids & {"mysql.unreachable", "mysql.rights", "mysql.dump"}
    sql(any_server, f"DROP DATABASE {schema}")
    assert any_server.is_running


async def sent_for_a_dump(url: str, proxy: Proxy) -> int:
    """Return how many bytes go to the server up to the end of the dump command."""
    position = Position(file="binlog.000001", offset=4, gtid_set=None)
    source = await Source.open(parse_url(url, ("mysql",)), position, mariadb=False, waits=False)
    assert await source.read(10)
    sent_bytes = proxy.passed("up")
    source.close()
    return sent_bytes


def test_a_binlog_that_does_not_come(new_mysql: NewMySQL) -> None:
    """A dump is opened for a moment: what breaks only on that connection is seen as well."""
    mysql = new_mysql()
    sql(mysql, "CREATE DATABASE shop", "CREATE TABLE shop.users (id INT PRIMARY KEY)")
    with Proxy(mysql.port) as proxy:
        url = mysql.url.replace(str(mysql.port), str(proxy.port))
        assert findings(url) == {}
        sent_bytes = asyncio.run(sent_for_a_dump(url, proxy))
        proxy.accepted = 0
        proxy.cut_next = lambda: ("up", sent_bytes, True) if proxy.accepted == 2 else None
        assert list(findings(url)) == ["mysql.unreachable"]
        proxy.cut_next = lambda: None
        assert findings(url) == {}
    for file in mysql.folder.glob("binlog.0*"):
        file.unlink()
    (finding,) = findings(mysql).values()

    assert (finding.id, finding.stops) == ("mysql.dump", True)
    assert "binlog" in finding.seen


def test_logins_databases_and_servers_that_are_not_there(server: SqlServer) -> None:
    """Each is one finding, and the other servers are asked all the same."""
    assert list(findings(f"{UNKNOWN_USER}{server.port}")) == ["mysql.refused"]
    assert list(findings(f"{server.url}/nowhere")) == ["mysql.database"]
    assert {f.id for f in check(tables=("shop.users",)).findings} == {
        "mysql.unreachable",
        "nats.unreachable",
        "redis.unreachable",
    }
    assert findings(server.url) == {}


def test_a_table_that_may_not_be_read(server: SqlServer) -> None:
    """Without a snapshot that is no finding; what cannot be counted is reported."""
    table = made(server, "id INT PRIMARY KEY, n INT")
    url = login(server, f"INSERT (id, n) ON {table}")
    report = check(url, tables=(table,), snapshot=False)

    assert found(report, "mysql") == {}
    assert any("cannot be counted" in note for note in report.notes)
    nullable = findings(url, table, key="t:{id}:{n}")
    assert set(nullable) == {"mysql.select", "mysql.key-nullable"}
    assert nullable["mysql.key-nullable"].fix.sql == ()


def test_a_table_that_is_not_there(server: SqlServer) -> None:
    """A typo is told with the nearest name, and every table's mistakes at once."""
    (finding,) = findings(server, "shop.usres").values()
    report = check(server, tables=("shop.usres", "shop.orders"))

    assert finding.id == "mysql.table"
    assert "did you mean 'shop.users'" in finding.seen
    assert [f.id for f in report.findings if f.id == "mysql.table"] == ["mysql.table"] * 2


@pytest.mark.parametrize(
    ("definition", "id", "words"),
    [
        ("k VARCHAR(20) NOT NULL, PRIMARY KEY (k(3))", "mysql.table-key-part", "on k(3)"),
        (
            "k TEXT NOT NULL, n INT AUTO_INCREMENT, UNIQUE (k(3)), KEY (n)",
            "mysql.table-key-part",
            "on k(3)",
        ),
        ("a INT AUTO_INCREMENT, b TEXT, KEY (a)", "mysql.table-key", "neither a primary key"),
    ],
)
def test_a_table_whose_keys_do_not_do(
    server: SqlServer, definition: str, id: str, words: str
) -> None:
    """A second primary key and a second AUTO_INCREMENT are refused: what is printed is neither."""
    table = made(server, definition)
    (finding,) = findings(server, table).values()

    assert (finding.id, finding.stops) == (id, True)
    assert words in finding.seen
    if id == "mysql.table-key-part":
        assert findings(server, table, key="{table}:{k}") == {}
    run_sql(server, finding)
    assert findings(server, table) == {}


def test_a_system_versioned_table_is_told_as_one(a_mariadb: SqlServer) -> None:
    """It is a table; what is printed makes it one that is carried."""
    table = made(a_mariadb, "id INT PRIMARY KEY, n INT")
    sql(a_mariadb, f"ALTER TABLE {table} ADD SYSTEM VERSIONING")
    (finding,) = findings(a_mariadb, table).values()

    assert "is a system-versioned table" in finding.seen
    assert "DROP SYSTEM VERSIONING" in finding.fix.text()


def test_a_pattern_that_does_nothing(server: SqlServer) -> None:
    """A warning beside a table that is captured, gone once the name is right."""
    got = findings(server, "shop.users", "shop.usrs*")
    finding = got["mysql.pattern"]

    assert not finding.stops
    assert "did you mean 'shop.users'" in finding.seen
    assert findings(server, "shop.users", "shop.user*") == {}
    assert "mysql.pattern" in findings(server, "shop.users", exclude_tables=("shop.x*",))


def test_two_names_of_one_table_are_both_told(server: SqlServer) -> None:
    """``users`` of the default database, and the same with its name."""
    got = check(f"{server.url}", tables=("shop.users", "users"))
    (finding,) = [f for f in got.findings if f.id == "mysql.table"]

    assert finding.seen == "table shop.users is named twice, as 'shop.users' and as 'users'"


def test_only_a_setting_of_sessions_leaves_these_to_do(server: SqlServer) -> None:
    """binlog_row_metadata is only GLOBAL, so no session keeps an old value of it."""
    facts = ServerFacts(
        mariadb=isinstance(server, MariaDB), version=(), version_text="", gtid=True, server="",
        variables={},
    )  # fmt: skip
    for variable in ("binlog_format", "binlog_row_metadata", "server_id"):
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SHOW SESSION VARIABLES LIKE '{variable}'")
            before = cursor.fetchall()
            try:
                cursor.execute(f"SET SESSION {variable} = {before[0][1]}")
                has_own = variable != "server_id"
            except pymysql.MySQLError:
                has_own = False
        assert ("open sessions" in set_variable(facts, variable, 1).advice) == has_own, variable


def test_a_unique_text_is_a_key_on_its_hash(a_mariadb: SqlServer) -> None:
    """MariaDB's own: rows are told apart by it, and not in its order."""
    table = made(a_mariadb, "k TEXT NOT NULL, UNIQUE (k)")
    (finding,) = findings(a_mariadb, table).values()

    assert (finding.id, finding.stops) == ("mysql.table-key-part", True)
    run_sql(a_mariadb, finding)
    assert findings(a_mariadb, table) == {}


def test_generated_columns(server: SqlServer) -> None:
    """MariaDB 11 leaves them out of UPDATE and DELETE: refused there where they are used."""
    table = made(server, "id INT PRIMARY KEY, a INT, v INT AS (a + 1), d DATETIME DEFAULT (now())")
    got = findings(server, table)
    if server.name != "mariadb":
        assert got == {}
        return
    assert list(got) == ["mysql.column-generated"]
    assert got["mysql.column-generated"].stops
    assert f'exclude = ["v"] in [tables."{table}"]' in got["mysql.column-generated"].fix.text()
    assert findings(server, table, value="a") == {}
    assert list(findings(server, table, value="v")) == ["mysql.column-generated"]
    assert "mysql.column-generated" in findings(server, table, key="t:{id}:{v}", value="a")


def test_a_table_without_a_key(server: SqlServer) -> None:
    """The statement gives it one that the application does not see, where there is such a thing."""
    table = made(server, "a INT, b TEXT")
    sql(server, f"INSERT INTO {table} VALUES (1, 'x'), (1, 'x')")
    (finding,) = findings(server, table).values()

    assert (finding.id, finding.stops) == ("mysql.table-key", True)
    run_sql(server, finding)
    assert findings(server, table) == {}
    columns = "(a, b)" if server.name == "mysql80" else ""  # invisible columns: since 8.0.23
    sql(server, f"INSERT INTO {table} {columns} VALUES (2, 'y')")


def test_a_large_table_without_a_key(server: SqlServer) -> None:
    """With --key it can be followed; its rows cannot be read in parts until it has a key."""
    table = made(server, "a INT NOT NULL")
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES (%s)", [(n,) for n in range(100_001)])
    lacking = findings(server, table, key="t:{a}")

    assert set(lacking) == {"mysql.table-unordered", "mysql.key-not-unique"}
    assert set(findings(server, table, key="t:{a}", snapshot=False)) == {"mysql.key-not-unique"}
    run_sql(server, lacking["mysql.table-unordered"])
    assert set(findings(server, table, key="t:{a}")) == {"mysql.key-not-unique"}
    assert findings(server, table) == {}


def test_a_table_that_takes_too_long_to_count(
    server: SqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog's estimate is taken, and marked as such."""
    table = made(server, "id INT PRIMARY KEY, t TEXT")
    with server.connect() as connection, connection.cursor() as cursor:
        rows = [(n, "x" * 90) for n in range(30_000)]
        cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", rows)
        cursor.execute(f"ANALYZE TABLE {table}")
    monkeypatch.setattr(table_size, "SCAN_MS", 1)
    report = check(server, tables=(table,))
    size = report.sizes[table]

    assert found(report, "mysql") == {}
    assert (size.is_exact, size.largest_bytes) == (False, None)
    assert 20_000 < size.rows < 40_000
    assert 90 < size.value_bytes < 200
    assert any("estimated" in note for note in report.notes)


def test_types_and_character_sets(server: SqlServer) -> None:
    """Both at once; the text is converted by the statement, the type is left out."""
    table = made(server, "id INT PRIMARY KEY, p POINT, s VARCHAR(9) CHARACTER SET sjis")
    lacking = findings(server, table)

    assert set(lacking) == {"mysql.column-type", "mysql.column-charset"}
    run_sql(server, lacking["mysql.column-charset"])
    assert set(findings(server, table)) == {"mysql.column-type"}
    assert findings(server, table, value="s") == {}


def test_keys_that_may_be_null_or_twice(server: SqlServer) -> None:
    """The statement keeps the rest of the column's definition."""
    table = made(
        server,
        "id INT PRIMARY KEY, name VARCHAR(9) CHARACTER SET latin1 DEFAULT NULL COMMENT 'a, b'",
    )
    lacking = findings(server, table, key="t:{id}:{name}")
    assert set(lacking) == {"mysql.key-nullable"}
    run_sql(server, lacking["mysql.key-nullable"])
    assert findings(server, table, key="t:{id}:{name}") == {}
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SHOW CREATE TABLE {table}")
        assert "latin1" in str(row := cursor.fetchone())
        assert "NOT NULL COMMENT 'a, b'" in str(row).replace("\\", "")

    assert set(findings(server, table, key="t:{name}")) == {"mysql.key-not-unique"}
    assert findings(server, table, key="t:{id}") == {}


def test_cascades_on_mariadb(a_mariadb: SqlServer) -> None:
    """MariaDB's are in no binlog; the statements make the key one that refuses."""
    server = a_mariadb
    table = made(server, "id INT PRIMARY KEY, u INT, KEY (u)")
    sql(
        server,
        f"ALTER TABLE {table} ADD CONSTRAINT fk_{uuid.uuid4().hex[:8]} FOREIGN KEY (u)"
        " REFERENCES shop.users (id) ON DELETE CASCADE",
    )
    (finding,) = findings(server, table, cascades="warn").values()

    assert (finding.id, finding.stops) == ("mysql.cascade", False)
    run_sql(server, finding)
    assert findings(server, table, cascades="warn") == {}
    sql(server, f"DROP TABLE {table}")


def test_cascades_that_are_followed_are_listed_with_their_cost(odd: dict[str, SqlServer]) -> None:
    """By a login that may only SELECT; of a parent that it does not see the fix shows its keys."""
    for server in odd.values():
        is_logged = type(server) is MySQL
        top = made(server, "id INT PRIMARY KEY")
        middle = made(server, _child_of(top))
        table = made(server, _child_of(middle))
        sql(
            server,
            f"INSERT INTO {top} VALUES (1)",
            f"INSERT INTO {middle} VALUES (1, 1)",
            f"INSERT INTO {table} VALUES (1, 1)",
        )
        url = login(server, f"SELECT ON {table}")
        report = check(url, tables=(table,))
        lacking = found(report, "mysql")
        assert set(lacking) == (set() if is_logged else {"mysql.cascade-hidden"})
        for _ in () if is_logged else (middle, top):
            run_sql(server, found(report, "mysql")["mysql.cascade-hidden"])
            report = check(url, tables=(table,))
        assert found(report, "mysql") == {}
        notes = [note for note in report.notes if note.startswith(f"{table}: follows {middle} by")]
        assert len(notes) == (not is_logged)
        assert all("(ON DELETE CASCADE)" in note and "1 rows" in note for note in notes)


def _child_of(parent: str) -> str:
    return f"id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES {parent} (id) ON DELETE CASCADE"


# -- what is set at the server's start -------------------------------------------------


def test_settings_that_need_a_restart() -> None:
    """One server with all of them; restarted with the lines, it has none."""
    options = (
        "--disable-log-bin",
        "--binlog-ignore-db=shop",
        "--log-replica-updates=OFF",
        "--innodb-native-foreign-keys=ON",
    )
    with MySQL(options=options) as mysql:
        sql(
            mysql,
            "CREATE DATABASE shop",
            "CREATE TABLE shop.users (id INT PRIMARY KEY)",
            "CREATE TABLE shop.orders (id INT PRIMARY KEY, u INT, FOREIGN KEY (u)"
            " REFERENCES shop.users (id) ON DELETE SET NULL ON UPDATE CASCADE)",
        )
        lacking = findings(mysql, "shop.orders", cascades="warn")
        assert set(lacking) >= {"mysql.log-bin", "mysql.cascade"}
        with_file(mysql, lacking["mysql.log-bin"])

        sql(mysql, "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1")
        lacking = findings(mysql, "shop.orders", cascades="warn")
        stops = {"mysql.binlog-filter": True, "mysql.replica-updates": True}
        assert {f.id: f.stops for f in lacking.values()} == stops | {"mysql.cascade": False}
        with_file(mysql, *lacking.values())
        assert findings(mysql, "shop.orders", cascades="warn") == {}


def test_a_filter_that_leaves_out_no_captured_table(new_mysql: Any) -> None:
    """A warning: an ALTER from another database is not in the binlog."""
    mysql = new_mysql(options=("--binlog-do-db=shop",))
    sql(mysql, "CREATE DATABASE shop", "CREATE TABLE shop.users (id INT PRIMARY KEY)")
    (finding,) = findings(mysql).values()

    assert (finding.id, finding.stops) == ("mysql.binlog-filter", False)


def test_what_may_not_be_asked_is_said(odd: dict[str, SqlServer]) -> None:
    """A login with the least rights: no finding, but a line for each question."""
    for server in odd.values():
        report = check(login(server, "SELECT ON shop.users"), tables=("shop.users",))

        assert found(report, "mysql") == {}
        assert any("may not be asked" in note for note in report.notes)


def test_the_largest_message_is_never_taken_for_larger_than_it_is(server: SqlServer) -> None:
    """Rows of every kind: what is counted is at most what the codec makes of them."""
    table = made(
        server,
        "id INT PRIMARY KEY, t TEXT, b BLOB, j JSON, d DATETIME(6), n DECIMAL(20,5), f DOUBLE",
    )
    sql(
        server,
        f"INSERT INTO {table} VALUES (1, REPEAT('é', 9000), REPEAT('b', 9000),"
        " CONCAT('[1', REPEAT(', 1', 5000), ']'), NULL, NULL, NULL)",
        f"INSERT INTO {table} VALUES (2, '', '', '1', NOW(6), -1.5, PI())",
    )
    report = check(server, tables=(table,))
    (captured,) = report.tables
    size = report.sizes[table]
    made_of_rows = [len(body) for body in bodies(server, captured)]

    assert size.largest_bytes is not None
    assert max(made_of_rows) * 0.7 < size.largest_bytes <= max(made_of_rows)


def bodies(server: SqlServer, table: Table) -> list[bytes]:
    """Return the value of each row as the codec of the snapshot makes it, with a plain message."""
    codec = SelectCodec(table, mariadb=isinstance(server, MariaDB))
    with pymysql.connect(**server.login, **CONNECTION) as raw:
        with raw.cursor() as cursor:
            cursor.execute(SESSION_SQL)
            cursor.execute(f"SELECT {codec.select_list} FROM {table.qualified}".replace("%%", "%"))
            rows = codec.rows(cursor.fetchall())
    return [bytes(row) + b" " * MESSAGE_BYTES for row in rows]


# -- storage engines -------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["MEMORY", "BLACKHOLE", "MERGE"])
def test_a_table_whose_rows_the_binlog_does_not_show(server: SqlServer, engine: str) -> None:
    """A MEMORY table that a restart empties, and others: refused by name, with what to do."""
    if isinstance(server, MariaDB) and engine == "BLACKHOLE":
        engine = "HEAP"  # MariaDB has it as a plugin
    kept = made(server, "id INT PRIMARY KEY")
    name = f"shop.t_{uuid.uuid4().hex[:8]}"
    if engine == "MERGE":
        sql(server, f"ALTER TABLE {kept} ENGINE = MyISAM")
    union = f" UNION = ({kept})" if engine == "MERGE" else ""
    unique = "KEY" if engine == "MERGE" else "PRIMARY KEY"
    sql(server, f"CREATE TABLE {name} (id INT NOT NULL, {unique} (id)) ENGINE = {engine}{union}")
    (finding,) = findings(server, name).values()

    assert (finding.id, finding.table, finding.stops) == ("mysql.table-engine", name, True)
    assert finding.error().exit_code == 3
    if engine == "MERGE":
        assert "name the tables" in finding.fix.text()
        name = kept
    else:
        run_sql(server, finding)
    assert findings(server, name) == {}


@pytest.mark.parametrize("engine", ["MEMORY", "MRG_MYISAM"])
def test_a_captured_table_that_gets_such_an_engine_stops_the_reader(
    server: SqlServer, engine: str
) -> None:
    """Also with on_schema_change = continue: from then on its changes cannot be followed."""
    with Follower(server, on_schema_change="continue") as follower:
        follower.execute("CREATE TABLE hot (id INT PRIMARY KEY)")
        follower.capture("hot")
        follower.execute("ALTER TABLE hot ENGINE = MyISAM")
        assert [message["op"] for message in follower.read()] == ["schema"]
        change = "DROP PRIMARY KEY, ENGINE = MRG_MYISAM" if engine == "MRG_MYISAM" else ""
        error = follower.refusal(f"ALTER TABLE hot {change or 'ENGINE = MEMORY'}")

    assert error is not None
    assert f"{follower.schema}.hot to ENGINE = {engine}" in error.seen
    assert "ENGINE = InnoDB;" in error.fix


@pytest.mark.timeout(120)
@pytest.mark.parametrize("on_schema_change", ["stop", "continue"])
def test_a_memory_table_that_a_restart_has_emptied(
    server: SqlServer, on_schema_change: Literal["stop", "continue"]
) -> None:
    """Each server reports it at its first use, in its own words; no session wrote the statement."""
    with Follower(server, on_schema_change=on_schema_change) as follower:
        follower.execute("CREATE TABLE hot (id INT PRIMARY KEY)", "INSERT INTO hot VALUES (1)")
        follower.capture("hot")
        follower.execute("ALTER TABLE hot ENGINE = MEMORY")
        follower.connection.close()
        server.stop()
        server.start()
        follower.connection = server.connect(follower.schema)
        follower.position = follower.newest()
        error = follower.refusal("SELECT * FROM hot")

    assert error is not None
    assert f"{follower.schema}.hot is empty" in error.seen
    assert "ENGINE = MEMORY after a restart" in error.seen
    assert "ENGINE = InnoDB;" in error.fix
