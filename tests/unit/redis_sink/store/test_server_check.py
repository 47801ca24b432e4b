"""What of a Redis is found from its answers, and the command that fixes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.errors import PermissionDenied
from cdc.key import parse_template
from cdc.table import Table
from cdc.url import parse_url
from redis_sink.plan.state import Ground, Kind
from redis_sink.store.server_check import (
    Command,
    OwnKeys,
    check_info,
    check_persistence,
    check_rights,
    check_role,
    commands_for,
    commands_needed,
    info_refused,
    no_rights,
    role_of,
)
from tests.support.planned import a_table

URL = parse_url("redis://cdc:Kanarienvogel@db.example:6380/0", ("redis",))
GOOD = {"cluster_enabled": "0", "redis_version": "8.0.6", "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"cluster_enabled": "1"}, ["redis.cluster"]),
        ({"redis_version": "6.0.16"}, ["redis.version"]),
        ({"redis_version": "6.2.0"}, []),
        ({"redis_version": "10.0"}, []),
        ({"maxmemory_policy": "allkeys-lfu"}, ["redis.eviction"]),
        ({"maxmemory_policy": "volatile-lru"}, []),
    ],
)
def test_info(changed: dict[str, str], found: list[str]) -> None:
    """Keys without a TTL are evicted by the policies for all keys alone."""
    assert [finding.id for finding in check_info(URL, GOOD | changed)] == found


def test_a_replica_names_its_master() -> None:
    """So that the URL can be corrected at once."""
    (finding,) = check_role(URL, [b"slave", b"10.0.0.1", 6379, b"connected", 14])

    assert "10.0.0.1:6379" in finding.fix.text()
    assert finding.error().exit_code == 69
    assert list(check_role(URL, [b"master", 0, []])) == []


@pytest.mark.parametrize(
    ("aof", "save", "is_found"),
    [("1", "", False), ("0", "", True), ("0", "3600 1", False), ("0", None, False)],
)
def test_persistence(aof: str, save: str | None, is_found: bool) -> None:
    """Either form is enough; what may not be asked is not guessed."""
    assert bool(list(check_persistence(URL, {"aof_enabled": aof}, save))) is is_found


def test_rights_that_lack_are_in_one_command_without_the_password() -> None:
    """An error for what the sink needs, a warning for what a refresh needs."""
    denied = [
        (("UNLINK", "users:x"), True),
        (("SET", "users:x", ""), True),
        (("SADD", "l", "x"), False),
    ]
    error, warning = check_rights(URL, "cdc", denied, ["users:*", "cdc:default:position"])

    assert (error.stops, warning.stops) == (True, False)
    assert error.error().exit_code == 77
    assert error.fix.command == (
        "redis-cli -h db.example -p 6380 ACL SETUSER cdc +set +unlink "
        "'~users:*' '~cdc:default:position'"
    )
    assert "Kanarienvogel" not in error.error().text() + warning.error().text()


@pytest.mark.parametrize(
    ("info", "role"),
    [
        (
            {"role": "slave", "master_host": "10.0.0.1", "master_port": "6379"},
            [b"slave", b"10.0.0.1", 6379],
        ),
        ({"role": "slave"}, [b"slave", b"", 0]),
        ({"role": "master"}, [b"master"]),
        ({}, []),
    ],
)
def test_info_tells_what_role_would(info: dict[str, str], role: list[object]) -> None:
    """For logins that may not run ROLE; nothing is not taken for a master."""
    assert role_of(info) == role
    assert bool(list(check_role(URL, role))) is (info.get("role") == "slave")


def test_a_sentinel_is_refused_without_a_master_to_name() -> None:
    """Its answer has no address."""
    (finding,) = check_role(URL, [b"sentinel", [b"mymaster"]])

    assert finding.id == "redis.role"
    assert finding.error().exit_code == 69


def test_info_that_is_denied_is_a_warning_with_the_right_for_it() -> None:
    """The sink works without INFO; a login without a name is the default one."""
    for url, user in (
        (URL, "cdc"),
        (parse_url("redis://db.example:6380/0", ("redis",)), "default"),
    ):
        finding = info_refused(url)
        assert (finding.id, finding.stops) == ("redis.info", False)
        assert finding.fix.command == f"redis-cli -h db.example -p 6380 ACL SETUSER {user} +info"


def test_what_a_pipeline_needs_for_its_own_keys() -> None:
    """Without the position and its counts nothing runs; the others are for a refresh."""
    needed = commands_needed(OwnKeys(position="p", counts="c", live="l"))

    assert [(c[0], c[1], stops) for c, stops in needed] == [
        ("GET", "p", True),
        ("SET", "p", True),
        ("HINCRBY", "c", True),
        ("SADD", "l", False),
        ("SMISMEMBER", "l", False),
        ("UNLINK", "l", False),
    ]


STRINGS = a_table()
HASHES = a_table(model="hash")


@pytest.mark.parametrize(
    ("table", "kind", "expected"),
    [
        (STRINGS, None, "SET MSET UNLINK"),
        (HASHES, None, "HSET UNLINK"),
        (replace(HASHES, ttl_s=60), None, "HSET UNLINK EXPIRE"),
        (STRINGS, "hash", "TYPE HSET HDEL (HSCAN)"),
        (STRINGS, "set", "TYPE SADD SREM (SSCAN)"),
        (STRINGS, "zset", "TYPE ZADD ZREM (ZSCAN)"),
    ],
)
def test_what_each_kind_of_key_needs(table: Table, kind: Kind | None, expected: str) -> None:
    """In parentheses what only a refresh needs; all on a key that the template may have made."""
    template = parse_template("by:{n}", schema="shop", table="users", pk=("id",))
    found = commands_for(table, Ground("shop.users", template, kind))

    assert " ".join(c[0] if stops else f"({c[0]})" for c, stops in found) == expected
    assert {command[1] for command, _ in found} == {"by:cdc-check"}


def test_a_login_without_rights_gets_all_in_one_command() -> None:
    """Rights and patterns are set together, and the password is not repeated."""
    commands: list[Command] = [("MSET", "users:x", ""), ("SET", "users:x", "")]
    found = no_rights(URL, PermissionDenied("it may not"), commands, ["users:*", "cdc:default:*"])
    command = found.fix.command

    assert (found.id, found.error().exit_code) == ("redis.rights", 77)
    assert command.startswith("redis-cli -h db.example -p 6380 ACL SETUSER cdc ")
    words = command.split()
    assert {"+mset", "+set", "+multi", "+exec", "+watch", "'+client|setname'"} <= set(words)
    assert len(words) == len(set(words))
    assert words[-3:] == ["resetkeys", "'~users:*'", "'~cdc:default:*'"]
    assert "Kanarienvogel" not in command
