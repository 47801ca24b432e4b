"""What of NATS breaks the guarantees: checked before a role starts, without side effects."""

from __future__ import annotations

import json
import re
from typing import Any

from cdc.check.finding import Finding, Fix, Report, of_error
from cdc.check.nats_account import check_account
from cdc.check.nats_rights import Refusals, state_of, try_rights
from cdc.errors import CdcError, StreamError, UnavailableError
from cdc.jetstream.connection import server_info
from cdc.jetstream.own_messages import OwnMessages
from cdc.jetstream.refusal import JetStreamOffError
from cdc.jetstream.stream import (
    Connection,
    StreamState,
    api,
    close,
    connect,
    dead_letter_config,
    dead_letter_subject,
    differences,
    fast_ingest_offered,
    named_stream_state,
    stream_config,
)
from cdc.partition import check_partitions
from cdc.settings import Settings

PARTITIONS_SINCE = (2, 11)
_FLAGS = {
    "subjects": "--subjects={}",
    "retention": "--retention={}",
    "discard": "--discard={}",
    "deny_delete": "--deny-delete",
    "max_bytes": "--max-bytes={}",
    "max_age": "--max-age={}s",
    "num_replicas": "--replicas={}",
    "duplicate_window": "--dupe-window={}s",
    "allow_batched": "--allow-fast",
}
"""Of ``nats stream edit``; what is not here cannot be changed."""


async def ask_nats(settings: Settings, role: str, report: Report) -> None:
    """Check NATS for everything that can break the guarantees; findings go into the report."""
    refusals = Refusals()
    side = "sink" if role == "sink" else "reader"
    try:
        nc = await connect(
            settings.nats, name="cdc-preflight", inbox_prefix=f"_INBOX_{side}", log=refusals
        )
    except CdcError as error:
        report.findings.append(_of(error))
        return
    version = str(server_info(nc).get("version", ""))
    report.servers["nats"] = f"NATS {version} at {nc.address}"
    report.max_payload_bytes = nc.max_payload
    try:
        await _ask(nc, settings, role, version, refusals, report)
    except CdcError as error:
        report.findings.append(_of(error))
    finally:
        await close(nc)


def _of(error: CdcError) -> Finding:
    if isinstance(error, JetStreamOffError):
        fix = Fix(
            file=("nats-server.conf", "jetstream { store_dir: /data }"),
            advice="or start it with -js; with accounts, allow JetStream in this login's account",
        )
        return Finding(id="nats.jetstream", seen=error.seen, fix=fix, kind=StreamError)
    if isinstance(error, StreamError):
        return of_error("nats.stream-config", error)
    away = isinstance(error, UnavailableError)
    return of_error("nats.unreachable" if away else "nats.refused", error)


async def _ask(
    nc: Connection,
    settings: Settings,
    role: str,
    version: str,
    refusals: Refusals,
    report: Report,
) -> None:
    rights = await try_rights(nc, settings, role, refusals, report.notes)
    report.findings += rights
    if refusals.has_denied("$JS.API.INFO") or refusals.hears_nothing:
        return
    info = await api(nc, "INFO")
    fast = await fast_ingest_offered(nc)
    report.notes += _notes(fast)
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    report.findings += check_version(version, numbers, settings.partitions)
    cluster = str(server_info(nc).get("cluster") or "")
    wanted = stream_config(settings, fast)
    state = await state_of(nc, settings.stream, refusals)
    report.stream_room_bytes = room_bytes(info, state, settings)
    if state is None:
        report.findings += check_copies(wanted["num_replicas"], cluster)
    else:
        report.findings += check_config(settings, wanted, state.config)
        report.findings += _one_copy(settings, cluster, state.config)
    if rights:
        return  # what follows would wait for answers that never come
    if state is not None:
        report.findings += await _partitions(nc, settings, state)
    report.findings += check_account(info, settings, await _missing(nc, settings, role, refusals))
    if role != "reader":
        if state is None:
            report.findings += await _subjects_taken(nc, wanted["subjects"][0], settings.stream)
        report.findings += await _dead_letters(nc, settings)


async def _missing(nc: Connection, settings: Settings, role: str, refusals: Refusals) -> list[str]:
    """Return the names of the streams that the role is going to make."""
    names = [settings.stream]
    if role != "reader":
        dead = {"subject": dead_letter_subject(settings)}
        if not (await api(nc, "STREAM.NAMES", dead)).get("streams"):
            names.append(f"{settings.stream}_DEAD")
        if settings.partitions > 1:
            names.append(f"KV_cdc_{settings.pipeline}")
    return [name for name in names if await state_of(nc, name, refusals) is None]


def _notes(fast: bool) -> list[str]:
    return [
        f"NATS: fast ingest {'is available' if fast else 'needs 2.14; slower without it'}",
        "NATS: sync_interval cannot be queried (2 min by default): the reader publishes again\n"
        "what a power loss takes from the stream, while the binlog still has it",
    ]


def check_version(version: str, numbers: tuple[int, ...], partitions: int) -> list[Finding]:
    """Return what is wrong with a server's version, ``(2, 10)``."""
    if partitions == 1 or numbers >= PARTITIONS_SINCE:
        return []
    return [
        Finding(
            id="nats.version",
            seen=f"nats-server {version} and partitions = {partitions}",
            fix=Fix(advice="upgrade nats-server, or run with --partitions 1"),
        )
    ]


# -- the stream ------------------------------------------------------------------------


async def _subjects_taken(nc: Connection, subjects: str, ours: str) -> list[Finding]:
    names = (await api(nc, "STREAM.NAMES", {"subject": subjects})).get("streams")
    if not names or ours in names:  # the other role made it since we looked
        return []
    return [
        Finding(
            id="nats.subjects-taken",
            seen=f"NATS: the stream {', '.join(names)} has subjects of {subjects}",
            fix=Fix(
                advice=f"use it: --stream {names[0]}; or other subjects: --subject-prefix NAME"
            ),
            kind=StreamError,
        )
    ]


def check_copies(copies: int, cluster: str) -> list[Finding]:
    """Return what is wrong with the number of replicas of a new stream.

    Args:
        cluster: the name of the server's cluster; empty: it is in none.
    """
    if copies == 1 or cluster:
        return []
    return [
        Finding(
            id="nats.replicas",
            seen=f"NATS: stream_replicas = {copies}, but this server is not in a cluster",
            fix=Fix(advice="run with --stream-replicas 1, or against a cluster"),
            kind=StreamError,
        )
    ]


def _one_copy(settings: Settings, cluster: str, config: dict[str, Any]) -> list[Finding]:
    if not cluster or config.get("num_replicas", 1) > 1:
        return []
    return [
        Finding(
            id="nats.one-copy",
            seen=f"NATS: the stream {settings.stream} has one replica in the cluster {cluster}",
            stops=False,
            fix=Fix(
                command=f"nats -s {_server(settings)} stream edit {settings.stream} --force "
                "--replicas=3",
                advice="with the setting stream_replicas = 3",
            ),
        )
    ]


def _server(settings: Settings) -> str:
    return f"nats://{settings.nats.address}"


def check_config(
    settings: Settings, wanted: dict[str, Any], found: dict[str, Any]
) -> list[Finding]:
    """Compare an existing stream with what cdc declares."""
    # The reader adds fast ingest to an older stream.
    different = [name for name in differences(wanted, found) if name != "allow_batched"]
    if not different:
        return []
    said = ", ".join(
        f"{name} = {json.dumps(found.get(name))} instead of {json.dumps(wanted[name])}"
        for name in different
    )
    flags = [edit_flag(name, wanted[name]) for name in different]
    other = "--stream NAME --subject-prefix NAME"
    fix = Fix(advice=f"it cannot be changed: use another name and other subjects,\n{other}")
    if all(flags) and found.get("retention") != "workqueue":
        edit = f"nats -s {_server(settings)} stream edit {settings.stream} --force"
        fix = Fix(command=f"{edit} {' '.join(flags)}", advice="or change the settings to match")
    return [
        Finding(
            id="nats.stream-config",
            seen=f"NATS: the stream {settings.stream} exists with another configuration: {said}",
            fix=fix,
            kind=StreamError,
        )
    ]


def edit_flag(name: str, value: Any) -> str:
    """Return the flag of ``nats stream edit`` that sets a field; empty: none can.

    >>> edit_flag("duplicate_window", 1_000_000_000), edit_flag("subjects", ["mysql.>"])
    ('--dupe-window=1s', "--subjects='mysql.>'")
    """
    if name not in _FLAGS:
        return ""
    if name in ("max_age", "duplicate_window"):
        value = value // 1_000_000_000
    if name == "subjects":
        value = f"'{','.join(value)}'"
    return _FLAGS[name].format(value)


async def _partitions(nc: Connection, settings: Settings, state: StreamState) -> list[Finding]:
    own = OwnMessages(nc, settings.stream, settings.subject_prefix, state.seal)
    _, heartbeat = await own.newest_heartbeat()
    try:
        check_partitions(heartbeat, settings.partitions, settings.stream)
    except StreamError as error:
        return [of_error("nats.partitions", error)]
    return []


async def _dead_letters(nc: Connection, settings: Settings) -> list[Finding]:
    subject = dead_letter_subject(settings)
    names = (await api(nc, "STREAM.NAMES", {"subject": subject})).get("streams") or []
    if not names:
        return []
    wanted = dead_letter_config(names[0])
    state = await named_stream_state(nc, names[0])
    different = differences(wanted, state.config)
    if not different:
        return []
    flags = [edit_flag(name, wanted[name]) for name in different]
    return [
        Finding(
            id="nats.dead-letters-config",
            seen=f"NATS: the stream {names[0]}, which takes {subject}, has "
            + ", ".join(f"{name} = {json.dumps(state.config.get(name))}" for name in different),
            fix=Fix(
                command=f"nats -s {_server(settings)} stream edit {names[0]} --force "
                + " ".join(flags)
            )
            if all(flags)
            else Fix(advice=f"it cannot be changed: remove the subject {subject} from it"),
            kind=StreamError,
        )
    ]


# -- room ------------------------------------------------------------------------------


def room_bytes(info: dict[str, Any], state: StreamState | None, settings: Settings) -> int | None:
    """Return what the stream may still take; None: NATS reports no limit.

    Args:
        info: the account's, as ``$JS.API.INFO`` gives it.
    """
    rooms = []
    limit = int(info.get("limits", {}).get("max_storage", -1))
    if limit >= 0:
        rooms.append(limit - int(info.get("storage", 0)))
    most = state.config.get("max_bytes", -1) if state else settings.stream_max_bytes or -1
    if most > 0:
        rooms.append(most - (state.size_bytes if state else 0))
    return max(0, min(rooms)) if rooms else None
