"""What of a Redis is found from its answers, and the command that fixes it."""

from __future__ import annotations

import pytest

from cdc.url import parse_url
from redis_sink.store.server_check import check_info, check_persistence, check_rights, check_role

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
