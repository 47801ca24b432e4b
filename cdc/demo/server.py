"""One real server on loopback: its process, port and data folder."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from cdc.demo import datadir, fetch
from cdc.demo.ports import free_port
from cdc.demo.process import Child
from cdc.errors import UnavailableError

START_DEADLINE_S = 90.0
STOP_DEADLINE_S = 30.0
PROBE_PAUSE_S = 0.02
PORT_ATTEMPTS = 5
PORT_TAKEN = re.compile("address already in use", re.IGNORECASE)


class ServerFailed(UnavailableError):
    """Raised when a server ends or stays silent while it should be starting."""

    retryable = False


class Server(ABC):
    """One server process with its port and data folder; a context manager.

    >>> with Redis() as redis:                        # doctest: +SKIP
    ...     redis.kill()
    ...     redis.start()                               # same port, same data
    """

    name: ClassVar[str]
    """As in ``fetch.RECIPES``."""

    def __init__(self) -> None:
        self._program: fetch.Program | None = None
        self._folder: datadir.Folder | None = None
        self._child: Child | None = None
        self._port: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Address for a client: ``mysql://root@127.0.0.1:20123``."""

    @abstractmethod
    def _arguments(self) -> Sequence[str]:
        """Return the arguments of the program."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether our server answers; false or OSError where not yet."""

    def _prepare(self) -> None:
        """Fill the new data folder; called once, before the first start."""

    @property
    def program(self) -> fetch.Program:
        """The program that runs, brought on first use.

        Raises:
            fetch.ServerMissing: it cannot be brought.
        """
        if self._program is None:
            self._program = fetch.bring(self.name)
        return self._program

    @property
    def version(self) -> str:
        """What the program says of itself: ``9.7.4``."""
        return self.program.version

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1, the same over restarts; known from the first start."""
        if self._port is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._port

    @property
    def pid(self) -> int:
        """Id of the running process."""
        return self._running().pid

    @property
    def folder(self) -> Path:
        """The server's data folder; known from the first start."""
        if self._folder is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._folder.path

    @property
    def is_running(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._child is not None and self._child.exit_code() is None

    def start(self) -> None:
        """Start it and wait until it answers; again after ``stop`` or ``kill``.

        Raises:
            ServerFailed: it ended or did not answer; with the end of its log.
            fetch.ServerMissing: there is no such program and none can be brought.
        """
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already, process {self.pid}")
        first = self._folder is None
        if first:
            self._folder = datadir.Folder(self.name)
            self._prepare()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            if first:
                self._port = free_port()
            log = self.folder.with_suffix(".log")
            command = self.program.command(*self._arguments())
            self._child = Child(command, log, folder=self.folder)
            if self._wait_until_it_answers(may_move=first and attempt < PORT_ATTEMPTS):
                return

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> None:
        """Stop it with SIGTERM, with SIGKILL after the deadline; the data stays."""
        if self._child is not None:
            self._child.stop(deadline_s)

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone; the data stays."""
        self._running().kill()

    def pause(self) -> None:
        """Freeze it with SIGSTOP: connections stay open and nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self._running().resume()

    def close(self) -> None:
        """Kill it and remove its data folder; safe to call at any time, also twice."""
        if self._child is not None:
            self._child.kill()
        if self._folder is not None:
            self._folder.remove()
        self._child = self._folder = None

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines that it printed; empty before the first start."""
        return self._child.log_tail(lines) if self._child else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> Child:
        if self._child is None or self._child.exit_code() is not None:
            raise RuntimeError(f"{self.name} is not running")
        return self._child

    def _wait_until_it_answers(self, *, may_move: bool) -> bool:
        """Return true when it answers, false when its port was taken and it may move."""
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            if not self.is_running:
                if may_move and PORT_TAKEN.search(self.log_tail()):
                    return False
                raise self._failed("ended while starting")
            try:
                if self._answers():
                    return True
            except OSError:
                pass
            time.sleep(PROBE_PAUSE_S)
        error = self._failed(f"does not answer after {START_DEADLINE_S:g} s")
        self.kill()
        raise error

    def _failed(self, what: str) -> ServerFailed:
        return ServerFailed(
            f"{self.program.binary.name} on port {self.port} {what}\n{self.log_tail()}",
            fix="read its log above",
        )
