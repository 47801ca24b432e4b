"""Log lines of a snapshot's progress: at its start and end, and every 5 s."""

from __future__ import annotations

import time
from collections.abc import Callable

from cdc.status.progress import LINE_EVERY_S, Pace
from cdc.telemetry import Log
from cdc_reader.snapshot.snapshot import Newest, Snapshot


class SnapshotReport:
    """Looks at a snapshot once in a round of the loop."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing reported."""
        self._log, self._clock = log, clock
        self._newest = Newest()
        self._what: tuple[object, ...] = ()
        self._pace = Pace(clock=clock)
        self._began_s = self._said_s = 0.0
        self._paused, self._paused_s = "", 0.0

    def look(self, snapshot: Snapshot) -> None:
        """Log what is new; cheap where nothing is."""
        if snapshot.paused != self._paused:
            self._say_pause(snapshot.paused)
        if snapshot.newest is not self._newest:
            self._newest = snapshot.newest
            if self._newest.table:
                self._look(self._newest)

    def _look(self, read: Newest) -> None:
        about = {"table": read.table}
        if read.part is not None:
            first, last = ",".join(read.part.first), ",".join(read.part.last)
            about |= {"first": first or "(begin)", "last": last or "(end)"}
        what = (read.table, read.part)
        if what != self._what:
            self._what = what
            # The first chunk is not known by its time: it was begun before.
            self._pace = Pace(read.rows, self._clock)
            self._began_s = self._said_s = self._clock()
            if not read.done:
                total = read.about_rows or None
                self._log.info("snapshot progress", **about, rows=read.rows, of_about=total)
        self._pace.note(read.rows)
        if read.done:
            took_s = self._clock() - self._began_s
            self._log.info("rows read", **about, rows=read.rows, seconds=round(took_s, 1))
            self._what = ()
        elif self._clock() - self._said_s >= LINE_EVERY_S:
            self._said_s = self._clock()
            self._log.info(
                "snapshot progress", **about, **self._pace.fields(read.about_rows or None)
            )

    def _say_pause(self, why: str) -> None:
        now_s = self._clock()
        if not why:
            self._log.info("the snapshot resumed", after_s=round(now_s - self._paused_s, 1))
        elif not self._paused:
            self._paused_s = now_s
            self._log.warning("the snapshot is paused, changes continue", reason=why)
        self._paused = why
