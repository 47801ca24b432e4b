"""The three servers of a run, and their state put back before each measurement.

MySQL runs on, with the durable defaults of its version.  NATS (file store) and Redis
(append-only file, every second) are stopped, given the data of a moment before, and
started again, so that every system and every round begins from the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import redis

from cdc.demo.servers import MySQL, Nats, Redis, Server, start_together

PAUSE_S = 0.005


class Servers:
    """MySQL, NATS and Redis for measurements; a context manager."""

    def __init__(self) -> None:
        self.mysql = MySQL()
        self.nats = Nats()
        self.redis = Redis()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="cdc-bench-")
        self.folder = Path(self._stack.enter_context(folder))
        try:
            start_together(self._stack, self.mysql, self.nats, self.redis)
            self.save("blank")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def save(self, state: str) -> None:
        """Remember what NATS and Redis hold under a name, in place of what had it before."""
        for server in self._restorable():
            server.stop()
            kept = self._kept(state, server)
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(server.folder, kept)
            server.start()

    def restore(self, state: str) -> None:
        """Put back what NATS and Redis held at `save`."""
        for server in self._restorable():
            server.stop()
            for path in server.folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.copytree(self._kept(state, server), server.folder, dirs_exist_ok=True)
            server.start()

    def pids(self) -> dict[str, int]:
        """Return the process id of each: ``{"mysql": 4711}``."""
        return {server.name: server.pid for server in (self.mysql, self.nats, self.redis)}

    def redis_client(self) -> redis.Redis:
        """Return a new client."""
        return redis.Redis(port=self.redis.port)

    def _restorable(self) -> tuple[Server, ...]:
        return (self.nats, self.redis)

    def _kept(self, state: str, server: Server) -> Path:
        return self.folder / f"{state}-{server.name}"


def wait_until(
    what: str, condition: Callable[[], bool], deadline_s: float = 60.0, pause_s: float = PAUSE_S
) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not within the deadline; says what was waited for.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline_s:g} s")
        time.sleep(pause_s)
