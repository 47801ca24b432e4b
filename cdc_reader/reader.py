"""The reader: MySQL's binlog into the stream.

`_stream_changes` is the loop; its numbered steps are those of docs/architecture.md and of
the fault tests.  Every connection begins with `cdc_reader.attached.attach`.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, suppress

from cdc.errors import CdcError, FencedError
from cdc.network.secret import LOGIN_PAUSE_MAX_S
from cdc.process.stopping import until_stopped
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log, Meter
from cdc_reader.attached import Attached, attach
from cdc_reader.current_tables import CurrentTables
from cdc_reader.schema.change import SchemaChanged

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 3.0
FENCED_OFTEN_S = 2.0
"""A reader that is fenced sooner than this has a rival."""


async def run(
    settings: Settings, tables: tuple[Table, ...], *, stop: asyncio.Event, log: Log, meter: Meter
) -> None:
    """Publish every change of `tables` until `stop` is set; then drain and return.

    A server that goes away, or refuses a login that it took, is waited for, with a log line.
    With ``on_schema_change = "refresh"`` what concerns one table alone sets that one aside or
    reads it again.

    Raises:
        CdcError: resuming would lose or guess; nothing was skipped.
    """
    captured = CurrentTables.of(settings, tables, log)
    pause_s = BACKOFF_FIRST_S
    while not stop.is_set():
        began_s = time.monotonic()
        try:
            await captured.settle()
            async with AsyncExitStack() as connections:
                # Nothing is published before: the timeouts of a silent server hold up no end.
                attaching = connections.enter_async_context(attach(captured, log))
                attached = await until_stopped(attaching, stop)
                if attached is not None:
                    await _stream_changes(attached, stop, meter)
        except FencedError as error:
            # A refresh was announced or another reader began: the stream's end is read again.
            write = log.warning if time.monotonic() - began_s < FENCED_OFTEN_S else log.info
            write("reading the stream's end again", why=error.seen)
            await _pause(stop, BACKOFF_FIRST_S * random.uniform(0.5, 1.0))
        except SchemaChanged as change:
            captured.met = change
        except CdcError as error:
            if error.table and settings.on_schema_change == "refresh":
                captured.met = error
                continue
            # Every server took its login when it was checked: one is refused until it is changed.
            if not error.heals_by_waiting:
                raise
            if time.monotonic() - began_s > 2 * BACKOFF_MAX_S:
                pause_s = BACKOFF_FIRST_S
            words = "waiting for a login" if error.is_login else "waiting for a server"
            log.warning(words, why=error.seen, again_in_s=round(pause_s, 1), fix=error.login_fix)
            await _pause(stop, pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, LOGIN_PAUSE_MAX_S if error.is_login else BACKOFF_MAX_S)


async def _stream_changes(a: Attached, stop: asyncio.Event, meter: Meter) -> None:
    while not stop.is_set():
        # 1. Read what came.
        data = await a.dump.read(a.read_timeout_s())
        a.watch_silence(bool(data))
        # 2. Turn it into messages, in binlog order; what cannot be carried ends it here.
        refused = a.take(data)
        # 3. Put rows of the snapshot in line, where none of them is too old.
        a.snapshot.step(a.assembler)
        a.report.look(a.snapshot)
        # 4. Add the transaction boundary that a restart begins at.
        runs, a.assembler.runs = a.assembler.runs, []
        heartbeat = None
        if refused is not None or a.heartbeat_due(bool(runs), len(data)):
            await a.list_tables()
            heartbeat = a.heartbeat()
        # 5. Publish, fenced; the flush before is stored when this returns.
        await a.publisher.send(runs, heartbeat)
        a.count(runs, meter)
        if refused is not None or not data:
            await a.publisher.settle()
        if refused is not None:
            raise refused
    await a.publisher.settle()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
