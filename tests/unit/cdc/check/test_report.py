"""What a look at the servers said, as text, JSON and SQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.check.estimate import TableSize
from cdc.check.finding import Finding, Fix, LeftOut, Report
from cdc.check.report import COLOURED, as_json, as_sql, as_text, exit_code
from tests.support.planned import a_table

SQL = Finding(
    id="mysql.binlog-format",
    seen="MySQL: binlog_format = MIXED",
    fix=Fix(
        sql=("SET PERSIST binlog_format = 'ROW';",),
        advice="then\nconnect anew",
        managed=(("RDS", "a parameter"),),
    ),
)
INVASIVE = Finding(
    id="mysql.table-key",
    seen="table shop.t has no key",
    fix=Fix(sql=("ALTER TABLE t ADD PRIMARY KEY (a);",), is_invasive=True),
    table="shop.t",
)
COMMAND = Finding(
    id="redis.eviction",
    seen="maxmemory_policy = allkeys-lru",
    fix=Fix(command="redis-cli CONFIG SET maxmemory-policy noeviction"),
    stops=False,
)
FILE = Finding(
    id="mysql.log-bin", seen="off", fix=Fix(file=("my.cnf", "[mysqld]\nlog_bin = binlog"))
)
SIZE = TableSize(
    rows=3_100_000, is_exact=True, size_bytes=420_000_000, value_bytes=140, largest_bytes=12_000
)


def report(*findings: Finding) -> Report:
    return Report(
        findings=list(findings),
        servers={"mysql": "MySQL 9.7.4 at db:3306"},
        sizes={"shop.users": SIZE},
        max_payload_bytes=1 << 20,
        notes=["NATS: one\ntwo"],
    )


@pytest.mark.parametrize(
    ("findings", "strict", "code"),
    [
        ((), False, 0),
        ((), True, 0),
        ((COMMAND,), False, 0),
        ((COMMAND,), True, 1),
        ((COMMAND, SQL), True, 3),
        ((SQL,), False, 3),
    ],
)
def test_the_exit_code_is_that_of_the_worst(
    findings: tuple[Finding, ...], strict: bool, code: int
) -> None:
    """3: cdc run cannot start; 1: warnings, where they count."""
    assert exit_code(report(*findings), strict=strict) == code


def test_text_has_errors_first_with_reason_and_mend() -> None:
    """Then warnings, what is fine, what could not be asked, and a sum."""
    text = as_text(report(COMMAND, SQL))

    assert text.startswith(
        "✗ MySQL: binlog_format = MIXED\n"
        "    why:  changes would be written as statements  [mysql.binlog-format]\n"
        "    fix:  SET PERSIST binlog_format = 'ROW';\n"
        "          then\n"
        "          connect anew\n"
        "    RDS:  a parameter\n"
        "\n"
        "! maxmemory_policy = allkeys-lru\n"
    )
    assert "✓ MySQL 9.7.4 at db:3306\n" in text
    assert (
        "✓ shop.users: 3,100,000 rows, 420 MB; snapshot 39 s, Redis 992 MB, stream 806 MB; "
        "largest message 12 kB of 1.0 MB\n"
    ) in text
    assert "- NATS: one\n  two\n" in text
    assert text.endswith("1 error, 1 warning: cdc run would not start")
    assert "\x1b" not in text


def test_colours_are_only_around_the_marks() -> None:
    """Take them away, and it is the plain text."""
    text = as_text(report(COMMAND, SQL), COLOURED)
    for code in COLOURED.values():
        text = text.replace(code, "")

    assert text == as_text(report(COMMAND, SQL))


def test_all_is_well_in_one_sentence() -> None:
    """Nothing to fix."""
    assert as_text(report()).endswith("no problems: cdc run can start")


def test_sql_is_all_that_stands_without_dashes() -> None:
    """Commands, files and what changes a table are comments."""
    lines = as_sql(report(COMMAND, SQL, INVASIVE, FILE)).splitlines()

    assert [line for line in lines if line and not line.startswith("--")] == list(SQL.fix.sql)
    assert "-- ALTER TABLE t ADD PRIMARY KEY (a);" in lines
    assert "-- redis-cli CONFIG SET maxmemory-policy noeviction" in lines
    assert "--   log_bin = binlog" in lines


def test_json_has_every_part_of_a_fix() -> None:
    """One object; absent parts are null."""
    found = as_json(report(SQL, FILE), strict=False)

    assert (found["exit_code"], found["errors"], found["warnings"]) == (3, 2, 0)
    assert found["findings"][0]["fix"] == {
        "sql": ["SET PERSIST binlog_format = 'ROW';"],
        "sql_is_invasive": False,
        "command": None,
        "file": None,
        "advice": "then\nconnect anew",
        "managed": {"RDS": "a parameter"},
    }
    assert found["findings"][1]["fix"]["file"] == {
        "name": "my.cnf",
        "lines": "[mysqld]\nlog_bin = binlog",
    }
    assert found["tables"][0]["rows"] == 3_100_000


def test_each_table_has_a_line_whether_or_not_its_size_is_known() -> None:
    """A table with an error has no mark of being fine."""
    found = replace(report(INVASIVE), tables=(a_table("users"), a_table("t"), a_table("carts")))
    lines = as_text(found).splitlines()

    assert [line for line in lines if "shop.carts" in line] == ["✓ shop.carts"]
    assert "· shop.t" in lines
    assert len([line for line in lines if line.startswith("✓ shop.users: ")]) == 1


@pytest.mark.parametrize(
    ("largest_bytes", "max_payload_bytes"), [(None, 1 << 20), (12_000, 0), (None, 0)]
)
def test_a_largest_message_is_shown_only_with_what_nats_takes(
    largest_bytes: int | None, max_payload_bytes: int
) -> None:
    """One without the other tells nothing."""
    size = replace(SIZE, largest_bytes=largest_bytes)
    found = replace(report(), sizes={"shop.users": size}, max_payload_bytes=max_payload_bytes)

    assert "largest message" in as_text(report())
    assert "largest message" not in as_text(found)


def test_what_only_a_pattern_matches_is_listed_with_its_reason() -> None:
    """For people and for programs; it is no finding, so a run starts."""
    out = LeftOut(table="shop.v", pattern="shop.*", why="shop.v is a view")
    report = Report(left_out=[out])

    assert "- not captured, only 'shop.*' matches it: shop.v is a view\n" in as_text(report)
    assert as_json(report, strict=True)["not_captured"] == [
        {"table": "shop.v", "pattern": "shop.*", "why": "shop.v is a view"}
    ]
    assert exit_code(report, strict=True) == 0
