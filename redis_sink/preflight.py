"""What is asked of Redis before the first write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdc.errors import PermissionDenied, PreflightError, UnavailableError
from cdc.table import Table
from redis_sink.sweep import escaped
from redis_sink.writer import Writer

SCAN_COUNT = 1000
SAMPLES = 3


async def check_server(writer: Writer, log: Any) -> None:
    """Make sure that this Redis can keep data and position together.

    Raises:
        UnavailableError: it is a replica now (a failover may be under way).
        PreflightError: it is part of a cluster.
        PermissionDenied: ROLE or a transaction is not allowed.
    """
    role = (await writer.ask(("ROLE",)))[0][0]
    if role != b"master":
        raise UnavailableError(
            f"Redis at {writer.address} is a replica and takes no writes",
            remedy="point the Redis URL at the master",
        )
    # Where MULTI is forbidden, what follows it would run outside a transaction.
    await writer.ask(("WATCH", writer.key), ("MULTI",), ("EXEC",))
    try:
        info = await _info(writer)
    except PermissionDenied:
        log.warning("redis does not allow INFO: cluster mode and eviction are not checked")
        await writer.open()
        return
    if info.get("cluster_enabled") == "1":
        raise PreflightError(
            f"Redis at {writer.address} is part of a cluster",
            safe="nothing was written",
            remedy="use a Redis that is not a cluster: data and position need one transaction",
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys-"):
        log.warning(
            "redis may evict keys that cdc keeps, and the position with them",
            maxmemory_policy=policy,
            remedy="redis-cli CONFIG SET maxmemory-policy noeviction",
        )


async def _info(writer: Writer) -> dict[str, str]:
    replies = await writer.ask(("INFO", "cluster"), ("INFO", "memory"))
    lines = b"\r\n".join(replies).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


async def refuse_foreign_keys(
    writer: Writer, tables: Sequence[Table], positions: Sequence[str], log: Any
) -> None:
    """Make sure that nothing stands yet under the keys that the tables will own.

    Looks at names only, once, before a pipeline's first write: a whole SCAN.  Where another
    partition has begun, it looked, and what stands there is ours.

    Args:
        positions: keys of all partitions' positions.

    Raises:
        PreflightError: keys stand there; says how many and shows three.
    """
    if await _begun(writer, positions):
        return
    prefixes: dict[str, str] = {}
    for table in tables:
        if table.key.literal_prefix:
            prefixes.setdefault(table.key.literal_prefix, table.qualified)
        else:
            log.info(
                "keys that stand already are not looked for: the template begins with a column",
                table=table.qualified,
                key=table.key.text,
            )
    for prefix, name in prefixes.items():
        count, samples = await _under(writer, prefix, positions)
        # A position is written before the keys of its partition: asked again, it is there.
        if count and not await _begun(writer, positions):
            raise PreflightError(
                f"{count} {'key stands' if count == 1 else 'keys stand'} in Redis already where "
                f"{name} will write ({prefix}*), such as " + ", ".join(map(repr, samples)),
                safe="nothing was written",
                remedy="start with --adopt to let cdc take them over, choose another key\n"
                "template, or remove them",
            )


async def _begun(writer: Writer, positions: Sequence[str]) -> bool:
    found = await writer.ask(*(("GET", key) for key in positions))
    return any(value is not None for value in found)


async def _under(writer: Writer, prefix: str, positions: Sequence[str]) -> tuple[int, list[str]]:
    pattern = escaped(prefix) + "*"
    cursor, found = b"0", set[bytes]()
    while True:
        command = ("SCAN", cursor, "MATCH", pattern, "COUNT", str(SCAN_COUNT))
        ((cursor, keys),) = await writer.ask(command)
        found.update(key for key in keys if key.decode(errors="replace") not in positions)
        if cursor == b"0":
            return len(found), [key.decode(errors="replace") for key in sorted(found)[:SAMPLES]]
