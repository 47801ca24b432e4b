"""What is asked of Redis: before a role starts, and by the sink before its first write."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence

from cdc.check.finding import Finding, Fix, Report, of_error
from cdc.errors import (
    CdcError,
    PositionLostError,
    PreflightError,
    UnavailableError,
)
from cdc.key import escaped
from cdc.own_keys import counts_key, is_of_cdc, live_keys_key, position_key, position_keys
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log
from redis_sink.plan.applied import decode, other_stream
from redis_sink.plan.state import grounds_of
from redis_sink.store.server_check import (
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
from redis_sink.store.verdict import LacksRight
from redis_sink.store.writer import Writer

SCAN_COUNT = 1000
SAMPLES = 3
_STOPPED = ("redis.role", "redis.cluster")
"""Where one of these is found, nothing else is asked."""


async def check_server(writer: Writer, log: Log) -> bool:
    """Make sure that this Redis can keep data and position together; return whether it may INFO.

    Raises:
        UnavailableError: it is a replica now (a failover may be under way).
        PreflightError: it is part of a cluster, or too old.
        PermissionDenied: a transaction is not allowed.
    """
    found, info = await _server(writer)
    for finding in found:
        if finding.stops:
            raise finding.error()
    for finding in found:
        log.warning(finding.sentence(), fix=finding.fix.text() or None)
    return bool(info)


async def _server(writer: Writer) -> tuple[list[Finding], dict[str, str]]:
    """Return what the server as such breaks, and its INFO; empty: it may not be asked."""
    role = await writer.ask_for("ROLE")
    info = await _info(writer)
    if found := list(check_role(writer.url, role or role_of(info))):
        return found, {}
    found = list(check_info(writer.url, info)) if info else [info_refused(writer.url)]
    if not any(finding.id in _STOPPED for finding in found):
        # Where MULTI is forbidden, what follows it would run outside a transaction.
        await writer.ask(("WATCH", writer.key), ("MULTI",), ("EXEC",))
    return found, info


async def memory(writer: Writer) -> tuple[int, int]:
    """Return ``used_memory`` and ``maxmemory`` in bytes; 0: no limit, or not reported.

    Raises:
        UnavailableError: Redis does not answer.
    """
    info = await _info(writer)
    return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))


async def _info(writer: Writer) -> dict[str, str]:
    """Return the answer to INFO; empty: it is denied."""
    parts = ("server", "replication", "cluster", "memory", "persistence")
    replies = [await writer.ask_for("INFO", part) for part in parts]
    lines = b"\r\n".join(filter(None, replies)).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


# -- before a role starts --------------------------------------------------------------


async def ask_redis(
    settings: Settings, tables: Awaitable[Sequence[Table]], report: Report, *, thorough: bool
) -> None:
    """Ask Redis everything that can break the promise; what it finds goes into the report.

    Args:
        tables: those that will be captured, known once MySQL has answered.
        thorough: look through all keys, and compare memory with what the tables need.
    """
    key = position_key(settings.pipeline, 0, settings.partitions)
    writer = Writer(settings.redis, key=key, name="cdc-preflight")
    try:
        await writer.open()
        found, info = await _server(writer)
        report.findings += found
        version = info.get("redis_version", "")
        report.servers["redis"] = f"Redis {version} at {writer.address}".replace("  ", " ")
        if any(finding.id in _STOPPED for finding in found):
            return
        if thorough:
            await _storage(writer, info, report)
        captured = await tables
        denied = await _rights(writer, settings, captured, report)
        if ("GET", key) not in denied:
            looks = thorough and ("SCAN", "0") not in denied
            await _position(writer, settings, captured, report, looks=looks)
    except CdcError as error:
        report.findings.append(_of(error, writer, settings, await tables))
    finally:
        writer.close()


def _of(error: CdcError, writer: Writer, settings: Settings, tables: Sequence[Table]) -> Finding:
    if isinstance(error, LacksRight):
        wanted, patterns = _wanted(settings, tables)
        return no_rights(writer.url, error, [command for command, _ in wanted], patterns)
    if isinstance(error, PreflightError):
        return of_error("redis.cluster", error)
    away = isinstance(error, UnavailableError)
    return of_error("redis.unreachable" if away else "redis.refused", error)


async def _storage(writer: Writer, info: dict[str, str], report: Report) -> None:
    if not info:
        return
    report.redis_used_bytes = int(info.get("used_memory", 0))
    limit = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    if limit:
        report.redis_room_bytes = max(0, limit - report.redis_used_bytes)
    save: str | None = None
    if info.get("aof_enabled") == "0":
        try:
            _, value = await writer.ask_for("CONFIG", "GET", "save")
            save = value.decode()
        except (CdcError, ValueError, TypeError):
            report.notes.append("Redis: appendonly no; whether it saves at all may not be asked")
            await writer.open()
    report.findings += check_persistence(writer.url, info, save)


async def _rights(
    writer: Writer, settings: Settings, tables: Sequence[Table], report: Report
) -> set[tuple[str, ...]]:
    """Try what the sink will do, and do nothing; return what is refused."""
    wanted, patterns = _wanted(settings, tables)
    # WATCH is allowed by now, so a refusal of it is about the key.
    keys = dict.fromkeys(command[1] for command, _ in wanted if command[0] != "SCAN")
    watched = [("WATCH", key) for key in keys]
    lacks = await writer.refused(*watched, *(command for command, _ in wanted))
    denied = [one for one, lacking in zip(wanted, lacks[len(watched) :], strict=True) if lacking]
    user = settings.redis.user or "default"
    report.findings += check_rights(writer.url, user, denied, patterns if "key" in lacks else ())
    grounds = [ground for table in tables for ground in grounds_of(table)]
    if not all(ground.template.literal_prefix for ground in grounds):
        report.notes.append(
            "Redis: keys of a template that begins with a column are not known before:\n"
            "rights on them are not tried, and existing keys are not looked for"
        )
    await writer.open()
    return {command for command, _ in denied}


def _wanted(
    settings: Settings, tables: Sequence[Table]
) -> tuple[list[tuple[tuple[str, ...], bool]], list[str]]:
    """Return the commands that the sink will send, and patterns of the keys that it writes."""
    pipeline, partitions = settings.pipeline, settings.partitions
    own = OwnKeys(
        position=position_key(pipeline, 0, partitions),
        counts=counts_key(pipeline, 0, partitions),
        live=live_keys_key(pipeline, 0, 0, partitions),
    )
    wanted = commands_needed(own)
    patterns = []
    for table in tables:
        for ground in grounds_of(table):
            if ground.template.literal_prefix:
                wanted += commands_for(table, ground)
                patterns.append(f"{escaped(ground.template.literal_prefix)}*")
    wanted.append((("SCAN", "0"), not settings.adopt))
    several = ":*" if partitions > 1 else ""
    kept = (f"position{several}", f"counts{several}", "refresh:*", "error")
    return wanted, patterns + [f"cdc:{pipeline}:{name}" for name in kept]


async def _position(
    writer: Writer,
    settings: Settings,
    tables: Sequence[Table],
    report: Report,
    *,
    looks: bool,
) -> None:
    keys = position_keys(settings.pipeline, settings.partitions)
    (raw,) = await writer.ask(("GET", writer.key))
    if raw is not None:
        try:
            applied = decode(raw, key=writer.key, partitions=settings.partitions)
        except PositionLostError as error:
            report.findings.append(of_error("redis.position", error))
            return
        if applied.stream != settings.stream:
            report.findings.append(
                of_error("redis.position", other_stream(applied, settings.stream))
            )
    elif looks and not settings.adopt:
        report.findings += await foreign_keys(writer, tables, keys)


async def foreign_keys(
    writer: Writer, tables: Sequence[Table], positions: Sequence[str]
) -> list[Finding]:
    """Return existing keys under the templates that the tables will own.

    Looks at names only, with a whole SCAN.  Where a partition has begun, it looked, and what
    exists there is ours.

    Args:
        positions: keys of all partitions' positions.
    """
    if await _begun(writer, positions):
        return []
    prefixes: dict[str, str] = {}
    for ground in (ground for table in tables for ground in grounds_of(table)):
        if ground.template.literal_prefix:
            prefixes.setdefault(ground.template.literal_prefix, ground.table)
    out = []
    found = await _under(writer, prefixes)
    for prefix, keys in found.items():
        name, count, samples = prefixes[prefix], keys.count, keys.samples
        # A position is written before the keys of its partition: asked again, it is there.
        if not await _begun(writer, positions):
            out.append(
                Finding(
                    id="redis.foreign-keys",
                    seen=f"{count} {'key exists' if count == 1 else 'keys exist'} in Redis already "
                    f"where {name} will write ({prefix}*), such as "
                    + ", ".join(map(repr, samples)),
                    fix=Fix(
                        advice="start with --adopt to let cdc take them over, choose another key\n"
                        "template, or remove them"
                    ),
                    table=name,
                )
            )
    return out


async def refuse_foreign_keys(
    writer: Writer, tables: Sequence[Table], positions: Sequence[str], log: Log
) -> None:
    """Make sure, once, before a pipeline's first write, that `foreign_keys` finds none.

    Raises:
        PreflightError: keys exist; the error counts them and shows three.
    """
    for ground in (ground for table in tables for ground in grounds_of(table)):
        if not ground.template.literal_prefix:
            log.info(
                "existing keys are not looked for: the template begins with a column",
                table=ground.table,
                key=ground.template.text,
            )
    for finding in await foreign_keys(writer, tables, positions):
        raise finding.error()


async def _begun(writer: Writer, positions: Sequence[str]) -> bool:
    found = await writer.ask(*(("GET", key) for key in positions))
    return any(value is not None for value in found)


class _Keys:
    """How many keys a prefix has, and the first of them by name."""

    def __init__(self) -> None:
        self.count = 0
        self.samples: list[str] = []

    def add(self, key: str) -> None:
        self.count += 1
        self.samples = sorted((*self.samples, key))[:SAMPLES]


async def _under(writer: Writer, prefixes: Collection[str]) -> dict[str, _Keys]:
    """Return the keys under each prefix that has some, after one SCAN of all keys.

    One for each prefix would look through them 5,000 times for 5,000 tables.
    """
    out: dict[str, _Keys] = {}
    if not prefixes:
        return out
    first, last = min(prefixes), max(prefixes)
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    pattern = escaped(first[:same] if same is not None else first) + "*"
    lengths = sorted({len(prefix) for prefix in prefixes})
    cursor = b"0"
    seen: set[tuple[str, str]] = set()
    while True:
        command = ("SCAN", cursor, "MATCH", pattern, "COUNT", str(SCAN_COUNT))
        ((cursor, raws),) = await writer.ask(command)
        keys = (raw.decode(errors="replace") for raw in raws)
        for key in (key for key in keys if not is_of_cdc(key)):
            for prefix in {key[:length] for length in lengths}:
                # SCAN may show a key twice.
                if prefix in prefixes and (prefix, key) not in seen:
                    seen.add((prefix, key))
                    out.setdefault(prefix, _Keys()).add(key)
        if cursor == b"0":
            return {prefix: out[prefix] for prefix in prefixes if prefix in out}
