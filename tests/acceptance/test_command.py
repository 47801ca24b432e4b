"""`cdc run` as a person meets it on real servers: what is refused, how, and that nothing leaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis
from tests.conftest import NewMySQL, NewRedis
from tests.support.pipeline import descendants, wait_for

CANARY = "Kanarienvogel4711"
PR_CAPBSET_DROP, CAP_DAC = 24, (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH; source: linux/prctl.h, linux/capability.h."""


@dataclass
class Place:
    """Servers, a schema and a pipeline of the test's own, and `cdc` on them."""

    folder: Path
    mysql: MySQL | MariaDB
    redis_server: Redis
    nats_url: str
    schema: str
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = uuid.uuid4().hex[:8]
        self.environment = {
            "CDC_MYSQL_URL": f"{self.mysql.url}/{self.schema}",
            "CDC_NATS_URL": self.nats_url,
            "CDC_REDIS_URL": f"redis://127.0.0.1:{self.redis_server.port}/0",
            "CDC_PIPELINE": name,
            "CDC_STREAM": f"S_{name}",
            "CDC_SUBJECT_PREFIX": f"m_{name}",
        }

    def sql(self, *statements: str) -> None:
        """Run statements in the schema."""
        with self.mysql.connect(self.schema) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def client(self) -> redis.Redis:
        """Return Redis."""
        return redis.Redis(port=self.redis_server.port, decode_responses=True)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start ``cdc run``; its output goes to the log."""
        with (self.folder / "log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cdc", "run", *arguments],
                env=os.environ | self.environment | environment,
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )
        self.processes.append(process)
        return process

    def text(self) -> str:
        """All that was printed."""
        return (self.folder / "log").read_text()

    def refusal(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run a command that ends by itself; return its exit code and what it printed."""
        code = self.start(*arguments, **environment).wait(60)
        text = self.text()
        assert "Traceback" not in text
        assert text.count("error: ") == 1
        assert "\n  fix:  " in text or "\n     fix:  " in text
        return code, text

    def wait_for_key(self, key: str, value: str | None) -> None:
        """Wait until Redis holds this."""
        wait_for(f"{key} = {value}\n{self.text()}", lambda: self.client().get(key) == value, 30)

    def is_untouched(self) -> bool:
        """Whether Redis has no key of ours."""
        found: list[str] = list(self.client().scan_iter())
        return found == []


@pytest.fixture
def place(
    tmp_path: Path, mysql: MySQL, nats: Nats, new_redis: NewRedis, fresh_schema: str
) -> Iterator[Place]:
    """A place with a table ``users`` that has one row."""
    made = Place(tmp_path, mysql, new_redis(), nats.url, fresh_schema)
    made.sql(
        "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(80))",
        "INSERT INTO users VALUES (1, 'Ada')",
    )
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
            process.wait()


# -- the main job ----------------------------------------------------------------------


def test_the_plainest_form(place: Place) -> None:
    """``--key '{your_key}' --value your_column``: `user:123` holds `John Doe`."""
    place.sql(
        "CREATE TABLE your_table (your_key VARCHAR(40) PRIMARY KEY, your_column VARCHAR(80))",
        "INSERT INTO your_table VALUES ('user:123', 'Jane')",
    )
    place.start("--table", "your_table", "--key", "{your_key}", "--value", "your_column")
    place.wait_for_key("user:123", "Jane")
    place.sql("UPDATE your_table SET your_column = 'John Doe' WHERE your_key = 'user:123'")
    place.wait_for_key("user:123", "John Doe")
    place.sql("DELETE FROM your_table")
    place.wait_for_key("user:123", None)


def test_mariadb_is_followed_too(
    tmp_path: Path, mariadb: MariaDB, nats: Nats, new_redis: NewRedis
) -> None:
    """The main job on MariaDB: rows that stood there, change, delete."""
    schema = f"t_{uuid.uuid4().hex[:12]}"
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {schema}")
    place = Place(tmp_path, mariadb, new_redis(), nats.url, schema)
    place.sql("CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(80))")
    place.sql("INSERT INTO users VALUES (1, 'Ada')")
    process = place.start("--table", "users")
    try:
        place.wait_for_key("users:1", '{"id":1,"name":"Ada"}')
        place.sql("UPDATE users SET name = 'Eve'")
        place.wait_for_key("users:1", '{"id":1,"name":"Eve"}')
        place.sql("DELETE FROM users")
        place.wait_for_key("users:1", None)
    finally:
        process.terminate()
        assert process.wait(15) == 0


def test_hash_and_no_snapshot(place: Place) -> None:
    """``--as hash`` writes a field for each column; ``--no-snapshot`` leaves old rows out."""
    place.start("--table", "users", "--as", "hash", "--no-snapshot")
    wait_for("streaming", lambda: '"event":"streaming"' in place.text(), 30)
    place.sql("INSERT INTO users VALUES (2, 'Eve')")
    client = place.client()
    wait_for("users:2", lambda: client.type("users:2") == "hash", 30)

    assert client.hgetall("users:2") == {"id": "2", "name": "Eve"}
    assert client.exists("users:1") == 0


@pytest.mark.parametrize(
    "definition",
    [
        "id INT PRIMARY KEY, v INT AS (id + 1) VIRTUAL, s INT AS (id + 2) STORED, z INT",
        "h INT INVISIBLE DEFAULT 7, id INT PRIMARY KEY, z INT",
        "id INT PRIMARY KEY, z INT, INDEX ((z + 1))",
    ],
)
def test_rows_read_and_rows_followed_have_the_same_columns(place: Place, definition: str) -> None:
    """Generated and invisible columns: the same fields in the same order, both ways."""
    place.sql(f"CREATE TABLE odd ({definition})", "INSERT INTO odd (id, z) VALUES (1, 5)")
    place.start("--table", "odd")
    client = place.client()
    wait_for(f"odd:1\n{place.text()}", lambda: client.exists("odd:1") == 1, 30)
    read = client.get("odd:1")
    place.sql("UPDATE odd SET z = 6", "UPDATE odd SET z = 5")
    place.sql("INSERT INTO odd (id, z) VALUES (2, 0)")
    wait_for("odd:2", lambda: client.exists("odd:2") == 1, 30)

    assert client.get("odd:1") == read


def test_the_embedded_nats_needs_no_other(place: Place) -> None:
    """``nats = "embedded:DIR"``: the same, with a server of our own that leaves with us."""
    folder = place.folder / "store"
    process = place.start("--table", "users", CDC_NATS_URL=f"embedded:{folder}")
    place.wait_for_key("users:1", '{"id":1,"name":"Ada"}')
    children = descendants(process.pid)
    process.terminate()

    assert process.wait(15) == 0
    assert len(children) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_drains_within_10_s(place: Place, number: signal.Signals) -> None:
    """What is committed before the signal and is read is stored; the exit code is 0."""
    process = place.start("--table", "users")
    place.wait_for_key("users:1", '{"id":1,"name":"Ada"}')
    began_s = time.monotonic()
    process.send_signal(number)

    assert process.wait(15) == 0
    assert time.monotonic() - began_s < 10
    assert place.text().count('"event":"stopped"') == 2


def test_a_line_says_what_flows(place: Place) -> None:
    """Rows in, rows out, totals and lag, as often as it is set."""
    place.start("--table", "users", CDC_REPORT_EVERY_S="0.2")
    place.wait_for_key("users:1", '{"id":1,"name":"Ada"}')
    place.sql("UPDATE users SET name = 'Eve'")
    for words in ('"event":"published ', '"event":"applied ', '"lag_s":'):
        wait_for(words, lambda words=words: words in place.text(), 10)  # type: ignore[misc]


def test_a_server_that_goes_away_is_waited_for_loudly(
    tmp_path: Path, new_mysql: NewMySQL, nats: Nats, new_redis: NewRedis
) -> None:
    """MySQL and Redis are stopped and started while it runs: said so, and caught up with."""
    server = new_mysql()
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE shop")
    place = Place(tmp_path, server, new_redis(), nats.url, "shop")
    place.sql("CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(80))")
    process = place.start("--table", "users")
    try:
        place.sql("INSERT INTO users VALUES (1, 'a')")
        place.wait_for_key("users:1", '{"id":1,"name":"a"}')
        server.stop()
        wait_for("the reader's words", lambda: "waiting for a server" in place.text(), 30)
        server.start()
        place.sql("UPDATE users SET name = 'b'")
        place.wait_for_key("users:1", '{"id":1,"name":"b"}')
        place.redis_server.stop()
        place.sql("UPDATE users SET name = 'c'")
        wait_for("the sink's words", lambda: "sink waiting" in place.text(), 30)
        place.redis_server.start()
        place.wait_for_key("users:1", '{"id":1,"name":"c"}')
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(15)


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (("--table", "usres"), {}, 2, "did you mean 'users'"),
        (("--table", "users", "--value", "nmae"), {}, 2, "did you mean 'name'"),
        (("--table", "users", "--key", "u:{nmae}"), {}, 2, "has no column 'nmae'"),
        ((), {}, 2, "no table is named"),
        (("--table", "users"), {"CDC_PIPELIN": "x"}, 78, "did you mean 'CDC_PIPELINE'"),
        (("--table", "users"), {"CDC_NATS_URL": "nats://127.0.0.1:1"}, 69, "NATS at 127.0.0.1:1"),
        (("--table", "users"), {"CDC_REDIS_URL": "redis://127.0.0.1:1"}, 69, "127.0.0.1:1"),
        (("--table", "users"), {"CDC_MYSQL_URL": "mysql://127.0.0.1:1"}, 69, "127.0.0.1:1"),
    ],
)
def test_each_refusal_has_its_words_and_its_exit_code(
    place: Place, arguments: tuple[str, ...], environment: dict[str, str], code: int, words: str
) -> None:
    """One error, no trace, no key in Redis."""
    found, text = place.refusal(*arguments, **environment)

    assert found == code
    assert words in text
    assert place.is_untouched()


def test_a_refused_login_ends_with_77_and_never_shows_the_password(place: Place) -> None:
    """MySQL's own words, and what to check."""
    url = f"mysql://nobody:{CANARY}@127.0.0.1:{place.mysql.port}/{place.schema}"
    code, text = place.refusal("--table", "users", CDC_MYSQL_URL=url)

    assert (code, "refuses the login of 'nobody'" in text) == (77, True)
    assert CANARY not in text


def test_a_missing_right_ends_with_77_and_its_grant(place: Place) -> None:
    """All rights that lack are in one GRANT."""
    user = f"u_{uuid.uuid4().hex[:8]}"
    place.sql(f"CREATE USER {user}@'%'", f"GRANT SELECT ON {place.schema}.* TO {user}@'%'")
    url = f"mysql://{user}@127.0.0.1:{place.mysql.port}/{place.schema}"
    code, text = place.refusal("--table", "users", CDC_MYSQL_URL=url)

    assert code == 77
    assert f"GRANT REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO '{user}'@'%';" in text


def test_a_binlog_that_is_off_ends_with_3(
    tmp_path: Path, new_mysql: NewMySQL, nats: Nats, new_redis: NewRedis
) -> None:
    """With the line for the server's file."""
    place = Place(tmp_path, new_mysql(options=("--disable-log-bin",)), new_redis(), nats.url, "")
    place.environment["CDC_MYSQL_URL"] = place.mysql.url
    with place.mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE shop")
        cursor.execute("CREATE TABLE shop.users (id INT PRIMARY KEY)")
    code, text = place.refusal("--table", "users")

    assert (code, "log_bin = binlog" in text) == (3, True)
    assert place.is_untouched()


def test_everything_that_is_wrong_is_told_at_once(
    tmp_path: Path, new_mysql: NewMySQL, new_redis: NewRedis
) -> None:
    """Two variables of MySQL, a table, NATS and Redis: five problems in one run."""
    options = ("--server-id=0", "--binlog-format=MIXED")
    place = Place(tmp_path, new_mysql(options=options), new_redis(), "nats://127.0.0.1:1", "")
    code, text = place.refusal(
        "--table",
        "nowhere.users",
        CDC_MYSQL_URL=place.mysql.url,
        CDC_REDIS_URL="redis://127.0.0.1:2",
    )

    assert code == 3
    assert "error: 5 problems" in text
    for words in (
        "SET PERSIST binlog_format = 'ROW';",
        "SET PERSIST server_id = 1;",
        "no table 'nowhere.users'",
        "127.0.0.1:1",
        "127.0.0.1:2",
    ):
        assert words in text


def test_a_table_without_a_key_ends_with_3(place: Place) -> None:
    """Refused with what helps, and with no template that two rows could share."""
    place.sql("CREATE TABLE log_users (who INT, what INT)")
    code, text = place.refusal("--table", "log_users")

    assert (code, "name columns that" in text, "{who}" in text) == (3, True, False)


def test_keys_of_somebody_else_end_with_3_and_stay(place: Place) -> None:
    """What stands where the table would write is reported; ``--adopt`` takes it over."""
    place.client().set("users:9", "theirs")
    code, text = place.refusal("--table", "users")

    assert (code, "--adopt" in text, "users:9" in text) == (3, True, True)
    assert place.client().get("users:9") == "theirs"
    place.start("--table", "users", "--adopt")
    place.wait_for_key("users:1", '{"id":1,"name":"Ada"}')


def test_a_stream_of_somebody_else_ends_with_73(place: Place) -> None:
    """What differs is shown with the command that changes it; nothing is changed."""
    first = place.start("--table", "users")
    place.wait_for_key("users:1", '{"id":1,"name":"Ada"}')
    first.terminate()
    first.wait(15)
    (place.folder / "log").write_text("")
    code, text = place.refusal("--table", "users", CDC_STREAM_MAX_AGE_S="77")

    assert code == 73
    assert "max_age = 0 instead of 77000000000" in text
    assert "--max-age=77s" in text


# -- secrets and processes -------------------------------------------------------------


def test_no_password_is_printed_or_in_a_process_list(place: Place, new_redis: NewRedis) -> None:
    """Through start, work, a lost server, a killed child and the end; at the loudest level."""
    user = f"u_{uuid.uuid4().hex[:8]}"
    place.sql(
        f"CREATE USER {user}@'%' IDENTIFIED BY '{CANARY}'",
        f"GRANT ALL ON *.* TO {user}@'%'",
    )
    place.redis_server = new_redis(("--requirepass", CANARY))
    place.environment["CDC_REDIS_URL"] = f"redis://:{CANARY}@127.0.0.1:{place.redis_server.port}/0"
    (place.folder / "secret").write_text(CANARY)
    place.environment["CDC_MYSQL_URL"] = f"mysql://{user}@127.0.0.1:{place.mysql.port}"
    process = place.start(
        "--table",
        f"{place.schema}.users",
        CDC_MYSQL_PASSWORD_FILE=str(place.folder / "secret"),
        CDC_LOG_LEVEL="debug",
    )
    client: Any = redis.Redis(port=place.redis_server.port, password=CANARY)
    wait_for(f"users:1\n{place.text()}", lambda: client.get("users:1") is not None, 30)
    children = descendants(process.pid)
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [process.pid, *children]]
    os.kill(children[0], signal.SIGKILL)
    wait_for("the restart", lambda: "role exited, restarting" in place.text(), 10)
    place.redis_server.stop()
    wait_for("the sink's words", lambda: "sink waiting" in place.text(), 30)
    process.terminate()
    process.wait(20)

    assert len(lines) == 3
    assert not any(CANARY.encode() in line for line in lines)
    assert CANARY not in place.text()


def test_children_end_with_their_parent(place: Place) -> None:
    """SIGKILL of ``cdc run`` leaves no reader and no sink."""
    process = place.start("--table", "users")
    place.wait_for_key("users:1", '{"id":1,"name":"Ada"}')
    children = descendants(process.pid)
    process.kill()
    process.wait()

    assert len(children) == 2
    gone = [Path(f"/proc/{pid}/cmdline") for pid in children]
    wait_for("the children to end", lambda: not any(map(_has_text, gone)), 15)


def _has_text(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def test_a_working_folder_that_may_not_be_entered_is_no_obstacle(place: Place) -> None:
    """Started where nothing can be looked up, as by sudo from another's home: it runs."""
    closed = place.folder / "closed"
    closed.mkdir()

    # Root may enter everything, unless it gives that right away.
    enter = (
        "import ctypes, os, sys\n"
        "os.chdir('closed'); os.chmod('.', 0)\n"
        "drop = ctypes.CDLL(None).prctl\n"
        "if os.geteuid() == 0:\n"
        f"    assert [drop({PR_CAPBSET_DROP}, right, 0, 0, 0) for right in {CAP_DAC}] == [0, 0]\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    with (place.folder / "log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", enter, "-P", "-m", "cdc", "run", "--table", "users"],
            env=os.environ | place.environment,
            cwd=place.folder,
            stdout=output,
            stderr=output,
        )
    place.processes.append(process)
    wait_for("rows\n" + place.text(), lambda: bool(place.client().exists("users:1")))
    closed.chmod(0o700)
    process.send_signal(signal.SIGTERM)

    assert process.wait(15) == 0
