"""What of a Redis breaks the promise, and the command that fixes it.

Pure: from the answers of ROLE, INFO and of commands that were tried.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdc.check.finding import Finding, Fix
from cdc.errors import CdcError, PermissionDenied, PreflightError, UnavailableError
from cdc.table import Table
from cdc.url import Url
from redis_sink.plan.state import Ground, Kind

OLDEST = (6, 2)
"""The first with SMISMEMBER."""
KEPT = "and ACL SAVE or CONFIG REWRITE"
Command = tuple[str, ...]


def redis_cli(url: Url) -> str:
    """Return how a person talks to this Redis; the login is left out."""
    return f"redis-cli -h {url.host} -p {url.port}"


def role_of(info: Mapping[str, str]) -> list[object]:
    """Return what ROLE would return, from INFO; empty: not known.

    >>> role_of({"role": "slave", "master_host": "10.0.0.1", "master_port": "6379"})
    [b'slave', b'10.0.0.1', 6379]
    """
    if info.get("role") == "slave":
        return [b"slave", info.get("master_host", "").encode(), int(info.get("master_port", 0))]
    return [info["role"].encode()] if "role" in info else []


def check_role(url: Url, role: Sequence[object]) -> Iterator[Finding]:
    """Look at the answer of ROLE: ``[b"slave", b"10.0.0.1", 6379, …]``; empty: not known.

    A replica refuses the first write (READONLY), so not knowing risks nothing.
    """
    if not role or role[0] == b"master":
        return
    master = ""
    if role[0] == b"slave" and isinstance(role[1], bytes):
        master = f" ({role[1].decode()}:{role[2]})"
    yield Finding(
        id="redis.role",
        seen=f"Redis at {url.address} is a replica and takes no writes",
        fix=Fix(
            command=f"{redis_cli(url)} REPLICAOF NO ONE",
            advice=f"or point the Redis URL at the master{master}",
            managed=(("ElastiCache, Memorystore, Azure", "the primary endpoint"),),
        ),
        kind=UnavailableError,
    )


def check_info(url: Url, info: Mapping[str, str]) -> Iterator[Finding]:
    """Look at INFO."""
    cli = redis_cli(url)
    if info.get("cluster_enabled") == "1":
        yield Finding(
            id="redis.cluster",
            seen=f"Redis at {url.address} is part of a cluster",
            fix=Fix(
                file=("redis.conf", "cluster-enabled no"),
                advice="or use a Redis that is not a cluster",
                managed=(("ElastiCache, Memorystore", "one with cluster mode disabled"),),
            ),
        )
    version = info.get("redis_version", "")
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers and numbers < OLDEST:
        yield Finding(
            id="redis.version",
            seen=f"Redis {version}",
            fix=Fix(advice="upgrade to 6.2 or newer"),
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys-"):
        yield Finding(
            id="redis.eviction",
            seen=f"Redis at {url.address}: maxmemory_policy = {policy}",
            stops=False,
            fix=Fix(
                command=f"{cli} CONFIG SET maxmemory-policy noeviction",
                advice="and CONFIG REWRITE",
                managed=(
                    ("ElastiCache", "maxmemory-policy in the parameter group"),
                    (
                        "Memorystore",
                        "gcloud redis instances update INSTANCE "
                        "--update-redis-config maxmemory-policy=noeviction",
                    ),
                    ("Azure", "maxmemory-policy under Advanced settings"),
                ),
            ),
        )


def info_refused(url: Url) -> Finding:
    """Return what it means that INFO may not be asked."""
    command = _set_user(url, url.user or "default", ("+info",))
    return Finding(
        id="redis.info",
        seen=f"Redis at {url.address} does not tell what it is: INFO is denied or incomplete",
        fix=Fix(command=command, advice=KEPT),
        stops=False,
    )


def check_persistence(url: Url, info: Mapping[str, str], save: str | None) -> Iterator[Finding]:
    """Look at what is left after a restart.

    Args:
        save: as CONFIG GET gives it, ``3600 1 300 100``; None: this login may not ask.
    """
    if info.get("aof_enabled") != "0" or save is None or save:
        return
    yield Finding(
        id="redis.persistence",
        seen=f"Redis at {url.address} stores nothing: appendonly no, save ''",
        stops=False,
        fix=Fix(
            command=f"{redis_cli(url)} CONFIG SET appendonly yes",
            advice="and CONFIG REWRITE",
            managed=(("ElastiCache, Memorystore, Azure", "a tier with persistence"),),
        ),
    )


# -- rights ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKeys:
    """Keys that a pipeline keeps for itself."""

    position: str
    counts: str
    live: str
    """What a refresh keeps."""


def commands_needed(keys: OwnKeys) -> list[tuple[Command, bool]]:
    """Return commands as the sink will send them for any tables.

    Each with whether it stops without them.

    Args:
        keys: of the pipeline itself.
    """
    return [
        (("GET", keys.position), True),
        (("SET", keys.position, ""), True),
        (("HINCRBY", keys.counts, "x", "1"), True),
        (("SADD", keys.live, "x"), False),
        (("SMISMEMBER", keys.live, "x"), False),
        (("UNLINK", keys.live), False),
    ]


def commands_for(table: Table, ground: Ground) -> list[tuple[Command, bool]]:
    """Return the same for one template of a table, which begins with a text."""
    key = f"{ground.template.literal_prefix}cdc-check"
    shared: dict[Kind | None, list[Command]] = {
        "hash": [("HSET", key, "f", ""), ("HDEL", key, "f")],
        "set": [("SADD", key, "x"), ("SREM", key, "x")],
        "zset": [("ZADD", key, "0", "x"), ("ZREM", key, "x")],
    }
    scans: dict[Kind | None, str] = {"hash": "HSCAN", "set": "SSCAN", "zset": "ZSCAN"}
    if ground.kind is not None:
        write = [("TYPE", key), *shared[ground.kind]]
        return [(one, True) for one in write] + [((scans[ground.kind], key, "0"), False)]
    write = [("SET", key, ""), ("MSET", key, ""), ("UNLINK", key)]
    if table.model == "hash":
        write = [("HSET", key, "f", ""), ("UNLINK", key)]
        write += [("EXPIRE", key, "1")] if table.ttl_s else []
    return [(command, True) for command in write]


def check_rights(
    url: Url, user: str, denied: Iterable[tuple[Command, bool]], patterns: Sequence[str]
) -> Iterator[Finding]:
    """Look at the commands that were refused.

    Args:
        denied: with whether the sink stops without them.
        patterns: of the keys that cdc writes, such as ``users:*``.
    """
    needed = dict.fromkeys(command for command, stops in denied if stops)
    wished = dict.fromkeys(command for command, stops in denied if not stops)
    for commands, stops, about in (
        (needed, True, ""),
        (wished, False, "; cdc refresh needs it"),
    ):
        if not commands:
            continue
        told = [" ".join(command[:2]) for command in commands]
        rights = sorted({f"+{command[0].lower()}" for command in commands})
        yield Finding(
            id="redis.rights",
            seen=f"Redis at {url.address}: the user {user!r} may not {', '.join(told)}{about}",
            stops=stops,
            kind=PermissionDenied if stops else PreflightError,
            fix=Fix(
                command=_set_user(url, user, (*rights, *(f"~{pattern}" for pattern in patterns))),
                advice=KEPT,
            ),
        )


def no_rights(
    url: Url, error: CdcError, commands: Sequence[Command], patterns: Sequence[str]
) -> Finding:
    """Return a login that lacks what is needed before rights can be tried one by one.

    Args:
        commands: all that the sink will send.
        patterns: of all keys that cdc writes.
    """
    named = sorted({*_ALWAYS, *(command[0].lower() for command in commands)})
    return Finding(
        id="redis.rights",
        seen=error.seen,
        kind=PermissionDenied,
        fix=Fix(
            command=_set_user(
                url,
                url.user or "default",
                (*(f"+{name}" for name in named), "resetkeys", *(f"~{p}" for p in patterns)),
            ),
            advice=KEPT,
        ),
    )


_ALWAYS = (
    "multi", "exec", "watch", "get", "set", "role", "info", "scan", "select", "client|setname",
)  # fmt: skip


def _set_user(url: Url, user: str, rules: Sequence[str]) -> str:
    words = ("ACL", "SETUSER", user, *rules)
    return f"{redis_cli(url)} {' '.join(map(shlex.quote, words))}"
