"""Tables as odd as SQL allows, all in one pipeline: once through the binlog, once by SELECT.

The rows of each are written while a first pipeline runs; a second one, on another Redis
database, then reads the same rows as its snapshot, in chunks of two.  Both must hold the same
bytes, and as many keys as MySQL has rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis
from tests.support.pipeline import Process, wait_for

BUMP = "UPDATE {t} SET n = n + 1"
LAST = "zz_last"
TAGGED = "tagged_gtids"

# Name -> (columns, statements); {t} is the quoted name.
KEYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "k_binary": (
        "id BINARY(16) PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES (x'00',1), (x'ff00ff',2), (x'412020',3), ('a',4), ('A',5)", BUMP),
    ),
    "k_varbinary": (
        "id VARBINARY(16) PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES (x'00',1), (x'0000',2), ('',3), (x'fffe',4), ('a%b',5)", BUMP),
    ),
    "k_no_case": (
        "id VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, n INT",
        (
            "INSERT INTO {t} VALUES ('Alpha',1), ('beta',2), ('GAMMA',3), ('ä',4), ('z ',5)",
            "UPDATE {t} SET id = 'ALPHA' WHERE id = 'alpha'",
            "UPDATE {t} SET id = 'Z' WHERE id = 'z'",
            "UPDATE {t} SET n = 7 WHERE id = 'BETA'",
        ),
    ),
    "k_signs": (
        "id VARCHAR(40) PRIMARY KEY, n INT",
        (
            r"INSERT INTO {t} VALUES ('a\\b',1), ('q\'x',2), ('d\"x',3), ('n\nl',4), ('%s%%',5),"
            r" ('{{}}',6), ('\0nul',7), ('😀:日本',8)",
            BUMP,
        ),
    ),
    "k_latin1": (
        "id VARCHAR(20) CHARACTER SET latin1 PRIMARY KEY, v TEXT CHARACTER SET latin1",
        (
            "INSERT INTO {t} VALUES ('é','ÿ€'), ('€',x'818d8f909d'), ('Z','ü'), ('ö','')",
            "UPDATE {t} SET v = CONCAT(v, '€')",
        ),
    ),
    "k_enum": (
        "id ENUM('zeta','alpha','ü\"q') PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES ('alpha',1), ('zeta',2), ('ü\"q',3)", BUMP),
    ),
    "k_set": (
        "id SET('z','a','m') PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES ('',1), ('z,a',2), ('m',3), ('a',4), ('z,a,m',5)", BUMP),
    ),
    "k_decimal": (
        "id DECIMAL(30,10) PRIMARY KEY, n INT",
        (
            "INSERT INTO {t} VALUES (-1.5,1), (0,2), (12345678901234567890.0123456789,3),"
            " (12345678901234567890.0123456790,4), (0.0000000001,5)",
            BUMP,
        ),
    ),
    "k_datetime": (
        "id DATETIME(6) PRIMARY KEY, n INT",
        (
            "INSERT INTO {t} VALUES ('2024-01-01 00:00:00.000001',1), ('2024-01-01',2),"
            " ('2024-01-01 00:00:00.000002',3), ('1000-01-01',4), ('9999-12-31 23:59:59.999999',5)",
            BUMP,
        ),
    ),
    "k_timestamp": (
        "id TIMESTAMP(3) NOT NULL PRIMARY KEY, n INT",
        (
            "SET time_zone = '+05:30'",
            "INSERT INTO {t} VALUES ('2024-01-01 00:00:00.001',1), ('2024-01-01',2),"
            " ('1975-01-01',3), ('2037-12-31 23:59:59.999',4)",
            BUMP,
        ),
    ),
    "k_zero_date": (
        "id DATETIME NOT NULL PRIMARY KEY, d DATE, ts TIMESTAMP NULL, n INT",
        (
            "INSERT INTO {t} VALUES ('0000-00-00','0000-00-00','0000-00-00',1),"
            " ('2024-00-10','2024-10-00',NULL,2), ('2024-02-00',NULL,NULL,3)",
            BUMP,
        ),
    ),
    "k_time": (
        "id TIME(3) PRIMARY KEY, n INT",
        (
            "INSERT INTO {t} VALUES ('-838:59:59',1), ('-00:00:00.001',2), ('00:00:00',3),"
            " ('838:59:59',4), ('-10:00:00.5',5)",
            BUMP,
        ),
    ),
    "k_year": (
        "id YEAR PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES (0,1), (1901,2), (2155,3), (2000,4), (1999,5)", BUMP),
    ),
    "k_float": (
        "id FLOAT PRIMARY KEY, n INT",
        (
            "INSERT INTO {t} VALUES (1.1,1), (16777216,2), (16777210,3), (16777214,4), (-1e-20,5),"
            " (3e38,6), (12345678,7), (12345679,8), (12345680,9)",
            BUMP,
        ),
    ),
    "k_double": (
        "id DOUBLE PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES (0.1,1), (0.30000000000000004,2), (0.3,3), (1e300,4)", BUMP),
    ),
    "k_bit": (
        "id BIT(64) PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES (0,1), (1,2), (18446744073709551615,3), (1 << 63,4)", BUMP),
    ),
    "k_unsigned": (
        "id BIGINT UNSIGNED PRIMARY KEY, n INT",
        (
            "INSERT INTO {t} VALUES (0,1), (18446744073709551615,2), (9223372036854775807,3),"
            " (9223372036854775808,4), (18446744073709551614,5)",
            BUMP,
        ),
    ),
    "k_zerofill": (
        "id INT(6) ZEROFILL PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES (7,1), (42,2), (1000000,3), (0,4)", BUMP),
    ),
    "k_parts": (
        "a VARCHAR(20), b VARCHAR(20), n INT, PRIMARY KEY (a, b)",
        ("INSERT INTO {t} VALUES ('a:b','c',1), ('a','b:c',2), ('%3A','',3), ('','%3A',4)", BUMP),
    ),
    "k_every_type": (
        "a TINYINT UNSIGNED, b BIGINT, c DECIMAL(20,4), d DATE, e DATETIME(3), f TIME(2), g YEAR,"
        " h CHAR(5), i VARBINARY(4), j ENUM('z','a'), k BIT(9), l SET('q','p'), m FLOAT, n INT,"
        " PRIMARY KEY (a, b, c, d, e, f, g, h, i, j, k, l, m)",
        (
            *(
                f"INSERT INTO {{t}} VALUES (1, -{i}, '-{i}.5', '2024-01-0{i}',"
                f" '2024-01-01 00:00:01.25', '-01:00:00.25', 1971, 'x:1', x'00ff3a', 'a', 300,"
                f" 'q,p', 1.{i}, {i})"
                for i in range(1, 6)
            ),
            BUMP,
            "DELETE FROM {t} WHERE n = 3",
        ),
    ),
    "no_key": (
        "a INT NOT NULL, b VARCHAR(20), n INT",
        (
            "INSERT INTO {t} VALUES (1,'x',NULL), (2,'',3), (3,NULL,4)",
            "UPDATE {t} SET n = 5 WHERE a = 1",
            "DELETE FROM {t} WHERE a = 2",
        ),
    ),
    "unique_only": (
        "a INT NULL UNIQUE, u INT NOT NULL, v INT, UNIQUE KEY uu (u)",
        (
            "INSERT INTO {t} VALUES (NULL,1,1), (NULL,2,2), (3,3,3)",
            "UPDATE {t} SET u = u + 10 ORDER BY u DESC",
        ),
    ),
}
NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "we`ird": (
        'id INT PRIMARY KEY, `co``l` INT, `qu"ote` INT, `per%cent` VARCHAR(9), `do.t` INT,'
        " `ünï日` INT, `sp ace` INT, `br{{ace}}` INT, `back\\slash` INT, `new\nline` INT, `%s` INT",
        (
            "INSERT INTO {t} VALUES (1,1,1,'1%',1,1,1,1,1,1,1), (2,2,2,'%s',2,2,2,2,2,2,2),"
            " (3,3,3,'%%',3,3,3,3,3,3,3)",
            "UPDATE {t} SET `per%cent` = '%d'",
        ),
    ),
    "per%cent": (
        "`i%d` INT, `s%s` VARCHAR(9), n INT, PRIMARY KEY (`i%d`, `s%s`)",
        ("INSERT INTO {t} VALUES (1,'a%s',1), (1,'b',2), (2,'%',3), (3,'c',4)", BUMP),
    ),
    "do.t": (
        "`i.d` VARCHAR(9) PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES ('a.b',1), ('c',2), ('d',3)", BUMP),
    ),
    "ünï日本": (
        "`schlüssel` VARCHAR(9) PRIMARY KEY, `名前` VARCHAR(9)",
        (
            "INSERT INTO {t} VALUES ('ä','😀'), ('b','日本'), ('c','')",
            "UPDATE {t} SET `名前` = '!'",
        ),
    ),
    "qu\"o'te": (
        "id INT PRIMARY KEY, n INT",
        ("INSERT INTO {t} VALUES (1,1), (2,2), (3,3)", BUMP),
    ),
    "select": (
        "`from` INT PRIMARY KEY, `where` INT, `value` INT, `key` INT, id INT",
        ("INSERT INTO {t} VALUES (1,1,1,1,1), (2,2,2,2,2)", "UPDATE {t} SET `where` = 9"),
    ),
}
SHAPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "columns_65": (
        "id INT PRIMARY KEY, " + ", ".join(f"c{i} VARCHAR(9)" for i in range(65)),
        (
            "INSERT INTO {t} (id, c0, c64) VALUES (1,'a','z'), (2,NULL,''), (3,'',NULL)",
            "UPDATE {t} SET c63 = 'y'",
        ),
    ),
    "columns_301": (
        "id INT PRIMARY KEY, " + ", ".join(f"c{i} INT" for i in range(300)),
        ("INSERT INTO {t} (id, c0, c299) VALUES (1,1,2), (2,NULL,3)", "UPDATE {t} SET c251 = 7"),
    ),
    "invisible": (
        "id INT PRIMARY KEY, a INT INVISIBLE DEFAULT 5, b INT",
        ("INSERT INTO {t} (id, b) VALUES (1,1), (2,NULL)", "UPDATE {t} SET b = 7"),
    ),
    "empty_and_null": (
        "id INT PRIMARY KEY, a VARCHAR(9), b TEXT, c BLOB, d CHAR(3), e BINARY(3), f VARBINARY(3)",
        (
            "INSERT INTO {t} VALUES (1,'','','','','',''), (2,NULL,NULL,NULL,NULL,NULL,NULL),"
            " (3,' ',' ',' ',' ',' ',' ')",
            "UPDATE {t} SET b = NULL WHERE id = 3",
            "UPDATE {t} SET d = 'é' WHERE id = 1",
        ),
    ),
    "json": (
        "id INT PRIMARY KEY, j JSON",
        (
            """INSERT INTO {t} VALUES (1, NULL), (2, 'null'), (3, '""'), (4, '{{"a":[1,{{}}]}}')""",
            """UPDATE {t} SET j = '{{"b":"é","a":[1,true,null]}}' WHERE id = 4""",
        ),
    ),
    "one_mb": (
        "id INT PRIMARY KEY, a MEDIUMTEXT",
        (
            "INSERT INTO {t} VALUES (1,REPEAT('x',1000000)), (2,REPEAT('é',400000)), (3,'')",
            "UPDATE {t} SET a = CONCAT(a, 'y')",
        ),
    ),
    "moves": (
        "id INT PRIMARY KEY, n VARCHAR(9)",
        (
            "INSERT INTO {t} VALUES (1,'one'), (2,'two'), (3,'three')",
            "BEGIN",
            "UPDATE {t} SET id = -1 WHERE id = 1",
            "UPDATE {t} SET id = 1 WHERE id = 2",
            "UPDATE {t} SET id = 2 WHERE id = -1",
            "COMMIT",
            "UPDATE {t} SET id = id + 1 ORDER BY id DESC",
            "INSERT INTO {t} VALUES (3,'dup') ON DUPLICATE KEY UPDATE id = 30, n = 'moved'",
            "REPLACE INTO {t} VALUES (4,'replaced'), (5,'new')",
            "BEGIN",
            "INSERT INTO {t} VALUES (77,'x')",
            "SAVEPOINT s",
            "INSERT INTO {t} VALUES (78,'y')",
            "ROLLBACK TO s",
            "COMMIT",
            "BEGIN",
            "DELETE FROM {t}",
            "ROLLBACK",
        ),
    ),
    "partitioned": (
        "id INT, d INT, n INT, PRIMARY KEY (id, d)) PARTITION BY RANGE (d)"
        " (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE",
        (
            "INSERT INTO {t} VALUES (1,1,1), (2,20,2), (3,3,3)",
            "UPDATE {t} SET d = 50 WHERE id = 1",
            BUMP,
        ),
    ),
    "hidden_by_temporary": (
        "id INT PRIMARY KEY, n INT",
        (
            "INSERT INTO {t} VALUES (1,1), (2,2)",
            "CREATE TEMPORARY TABLE {t} (a INT)",
            "INSERT INTO {t} VALUES (5)",
            "TRUNCATE {t}",
            "ALTER TABLE {t} ADD b INT",
            "DROP TABLE {t}",
            BUMP,
        ),
    ),
    "no_transactions": (
        "id INT PRIMARY KEY, n INT) ENGINE=MyISAM",
        ("INSERT INTO {t} VALUES (1,1), (2,2), (3,3)", BUMP, "DELETE FROM {t} WHERE id = 2"),
    ),
}
MYSQL_ONLY: dict[str, tuple[str, tuple[str, ...]]] = {
    "generated": (
        "id INT PRIMARY KEY, a INT, v INT GENERATED ALWAYS AS (a * 2) VIRTUAL,"
        " s INT GENERATED ALWAYS AS (a * 3) STORED",
        (
            "INSERT INTO {t} (id, a) VALUES (1,1), (2,NULL), (3,3)",
            "UPDATE {t} SET a = 8 WHERE id = 1",
        ),
    ),
    "index_on_expression": (
        "id INT PRIMARY KEY, j JSON, n INT, INDEX m ((CAST(j->'$.a' AS UNSIGNED ARRAY))),"
        " INDEX f ((n + 1))",
        ("""INSERT INTO {t} VALUES (1,'{{"a":[1,2]}}',1), (2,NULL,2)""", BUMP),
    ),
    "compressed": (
        "id INT PRIMARY KEY, n INT",
        (
            "SET binlog_transaction_compression = 1",
            "INSERT INTO {t} VALUES (1,1), (2,2), (3,3)",
            BUMP,
            "DELETE FROM {t} WHERE id = 2",
        ),
    ),
    TAGGED: (
        "id INT PRIMARY KEY, n INT",
        ("SET gtid_next = 'AUTOMATIC:odd'", "INSERT INTO {t} VALUES (1,1), (2,2)", BUMP),
    ),
}
EXPECTED = {
    "k_no_case:ALPHA": '{"id":"ALPHA","n":1}',
    "k_float:16777210.0": '{"id":16777210.0,"n":4}',
    "k_timestamp:2023-12-31T18:30:00.001Z": '{"id":"2023-12-31T18:30:00.001Z","n":2}',
    "k_zero_date:0000-00-00 00:00:00": '{"id":"0000-00-00 00:00:00","d":"0000-00-00",'
    '"ts":"0000-00-00 00:00:00","n":2}',
    "k_parts:a%3Ab:c": '{"a":"a:b","b":"c","n":2}',
    "k_parts:%253A:": '{"a":"%3A","b":"","n":4}',
    "per%cent:1:a%25s": '{"i%d":1,"s%s":"a%s","n":2}',
    "empty_and_null:1": '{"id":1,"a":"","b":"","c":"","d":"é","e":"AAAA","f":""}',
    "empty_and_null:2": '{"id":2,"a":null,"b":null,"c":null,"d":null,"e":null,"f":null}',
    "moves:2": '{"id":2,"n":"two"}',
    "moves:30": '{"id":30,"n":"moved"}',
    "moves:77": '{"id":77,"n":"x"}',
    "one_mb:3": '{"id":3,"a":"y"}',
}


class Odd:
    """The tables on one server, and two pipelines on them."""

    def __init__(self, mysql: MySQL | MariaDB, folder: Path, stack: ExitStack) -> None:
        """Make the tables."""
        self.mysql, self.folder, self.stack = mysql, folder, stack
        self.nats = stack.enter_context(Nats({"max_payload": 8 << 20}))
        self.redis = stack.enter_context(Redis())
        self.tables = KEYS | NAMES | SHAPES | (MYSQL_ONLY if isinstance(mysql, MySQL) else {})
        if isinstance(mysql, MySQL) and not mysql.gtid:
            del self.tables[TAGGED]
        self.execute("CREATE DATABASE odd")
        for name, (columns, _) in self.tables.items():
            end = "" if "ENGINE" in columns else ")"
            self.execute(f"CREATE TABLE odd.{quoted(name)} ({columns.format()}{end}")
        self.execute(f"CREATE TABLE odd.{LAST} (id INT PRIMARY KEY)")

    def execute(self, *statements: str) -> Any:
        """Run statements in a session of their own; return the last one's rows."""
        with self.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def write(self) -> None:
        """Let every table live through its statements."""
        for name, (_, statements) in self.tables.items():
            full = f"odd.{quoted(name)}"
            self.execute(*(statement.format(t=full) for statement in statements))
        self.execute(f"INSERT INTO odd.{LAST} VALUES (1)")

    def run(self, name: str, database: int) -> dict[str, str]:
        """Start a pipeline, write if it is the first, and return all keys when it is through."""
        client = redis.Redis(port=self.redis.port, db=database, decode_responses=True)
        process = Process(
            ["run", "--config", str(self._config(name, database))],
            {},
            self.folder / f"{name}.log",
        ).start()
        self.stack.callback(process.close)
        try:
            # Where rows are written before their table is read, the snapshot carries them.
            wait_for("all tables", lambda: f'"rows read","table":"odd.{LAST}"' in process.text())
            if database == 0:
                self.write()
            wait_for("the last row", lambda: client.exists(f"{LAST}:1") == 1)
            assert process.stop() == 0
        finally:
            print(process.text()[-3000:])
        assert "Traceback" not in process.text()
        assert "quarantined" not in process.text()
        keys = [key for key in client.scan_iter(count=5000) if not key.startswith("cdc:")]
        values: Any = client.mget(keys)
        return dict(zip(keys, values, strict=True))

    def _config(self, name: str, database: int) -> Path:
        lines = [
            f'mysql = "{self.mysql.url}/odd"',
            f'nats = "{self.nats.url}"',
            f'redis = "redis://127.0.0.1:{self.redis.port}/{database}"',
            f'pipeline = "{name}"\nstream = "{name}"\nsubject_prefix = "{name}"',
            "snapshot_chunk_rows = 2",
        ]
        for table in (*self.tables, LAST):
            lines.append(f"[tables.{json.dumps(f'odd.{table}')}]")
            if table == "no_key":
                lines.append('key = "no_key:{a}"')
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines))
        return path


def quoted(name: str) -> str:
    """Return an identifier as SQL."""
    return "`" + name.replace("`", "``") + "`"


@pytest.fixture(params=["mysql", "mysql without gtids", "mariadb"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Odd]:
    """The tables on each kind of source."""
    with ExitStack() as stack:
        mysql: MySQL | MariaDB
        if request.param == "mariadb":
            mysql = MariaDB(("--log-bin-compress=ON", "--log-bin-compress-min-len=10"))
        else:
            mysql = MySQL(gtid=request.param == "mysql", options=("--sync-binlog=0",))
        stack.enter_context(mysql)
        yield Odd(mysql, tmp_path, stack)


def test_odd_tables_are_carried_exactly_by_binlog_and_by_snapshot(odd: Odd) -> None:
    """Whatever a table looks like: both ways give the same bytes, one key for each row."""
    live = odd.run("live", 0)
    read = odd.run("read", 1)

    assert {key: value for key, value in live.items() if read.get(key) != value} == {}
    assert read.keys() == live.keys()
    for name in odd.tables:
        ((rows,),) = odd.execute(f"SELECT COUNT(*) FROM odd.{quoted(name)}")
        assert sum(key.startswith(f"{name}:") for key in live) == rows, name
    for key, value in EXPECTED.items():
        assert live[key] == value
