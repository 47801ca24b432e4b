"""``python -m tests.support.crashing POINT WHEN K run --role reader …``: a role that kills itself.

The role is the one that users run.  Here its ports are wrapped from outside: at the K-th call
of POINT the process gets SIGKILL, before the call, after it, or half-way through the bytes
that it was about to write.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import sys
import threading
from typing import Any

from cdc.cli import main

MARK = "crash point reached"
POINTS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "reader": (
        ("cdc_reader.binlog.source:Source.open", ("before", "after")),
        ("cdc_reader.binlog.source:Source.read", ("after",)),
        ("cdc_reader.publish.transaction:Assembler.take_usual", ("before", "after")),
        ("cdc_reader.publish.publisher:Publisher.open", ("before", "after")),
        ("cdc_reader.publish.publisher:Publisher.send", ("before", "after")),
        ("cdc_reader.publish.publisher:Publisher.settle", ("before", "after")),
        ("cdc_reader.publish.publisher:write_block", ("before", "half", "after")),
    ),
    "snapshot": (
        ("cdc_reader.snapshot.chunk:ChunkReader.read", ("before", "after")),
        ("cdc_reader.snapshot.chunk:fetch_rows", ("before", "after")),
        ("cdc_reader.snapshot.snapshot:Snapshot.step", ("before", "after")),
    ),
    "sink": (
        ("cdc.jetstream.consumer:Consumer.open", ("before", "after")),
        ("cdc.jetstream.consumer:Consumer.read", ("after",)),
        ("redis_sink.plan.planner:Planner.plan", ("before", "after")),
        ("redis_sink.stream.dead_letter:DeadLetters.send", ("before", "after")),
        ("redis_sink.store.writer:Writer.arm", ("before", "after")),
        ("redis_sink.store.writer:Writer.apply", ("before", "half", "after")),
    ),
}
"""Steps of each loop, and where in them the process may die."""
ONCE = ("Source.open", "Publisher.open", "Consumer.open", "Writer.arm")
"""Called once for each connection: only their first call is sure to come."""


class _Crash:
    """Kills the process at the K-th call."""

    def __init__(self, point: str, when: str, k: int) -> None:
        self._point, self._when, self._left = point, when, k
        self._lock = threading.Lock()

    def is_due(self) -> bool:
        """Count one call."""
        with self._lock:
            self._left -= 1
            return self._left == 0

    def now(self) -> None:
        """Say it, and end as by `kill -9`."""
        print(f"{MARK}: {self._point} {self._when}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(self, call: Any) -> Any:
        """Return the port's method, with the crash in it."""
        if inspect.iscoroutinefunction(call):

            @functools.wraps(call)
            async def around(*args: Any, **kwargs: Any) -> Any:
                due = self.is_due()
                if due and self._when == "before":
                    self.now()
                if due and self._when == "half":
                    args = self._halved(*args)
                result = await call(*args, **kwargs)
                if due:
                    self.now()
                return result

            return around

        @functools.wraps(call)
        def around_plain(*args: Any, **kwargs: Any) -> Any:
            due = self.is_due()
            if due and self._when == "before":
                self.now()
            result = call(*args, **kwargs)
            if due:
                self.now()
            return result

        return around_plain

    def _halved(self, *args: Any) -> tuple[Any, ...]:
        """Make the call write half of its bytes and then die."""
        if isinstance(args[-1], bytes) and not hasattr(args[0], "arm"):
            nc, block = args
            return nc, block[: len(block) // 2]
        # The sink's writer: its stream takes half, then the process is gone.
        stream = args[0]._writer
        write = stream.write

        def half(data: bytes) -> None:
            write(data[: len(data) // 2])
            self.now()

        stream.write = half
        return args


def crash_at(point: str, when: str, k: int) -> None:
    """Wrap a port of this process.

    Args:
        point: ``redis_sink.store.writer:Writer.apply``, or ``module:function``.
    """
    module, _, name = point.partition(":")
    owner: Any = importlib.import_module(module)
    holder, _, method = name.rpartition(".")
    if holder:
        owner = getattr(owner, holder)
    found = inspect.getattr_static(owner, method)
    crash = _Crash(point, when, k)
    if isinstance(found, classmethod):
        setattr(owner, method, classmethod(crash.wrapped(found.__func__)))
    else:
        setattr(owner, method, crash.wrapped(found))


if __name__ == "__main__":
    crash_at(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    main(sys.argv[4:])
