"""The systems that are measured, each as processes of its own: cdc, the naive form, Debezium.

A system is attached before a backlog is written and stopped again; `start` then puts NATS and
Redis back to that moment, so that a backlog is written once and drained many times.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import msgspec

from benchmarks import debezium, procfs
from benchmarks.servers import Servers, wait_until
from benchmarks.workload import SCHEMA, Workload, touch_marker
from cdc.demo.process import Child
from cdc.demo.servers import PASSWORD

STOP_DEADLINE_S = 20.0
ATTACH_DEADLINE_S = 60.0


class SystemFailed(RuntimeError):
    """Raised when a system that is measured ends by itself; with the end of its log."""


class Running:
    """A system at work."""

    def __init__(self, command: Sequence[str], folder: Path, name: str) -> None:
        """Start it; `started` is the moment before."""
        self.started = time.monotonic()
        self.name = name
        self._child = Child(command, folder / f"{name}.log", folder=folder)

    def processes(self) -> dict[str, int]:
        """Return its processes by what they do: ``{"cdc reader": 4711}``."""
        found: dict[str, int] = {}
        for pid in procfs.descendants(self._child.pid):
            role = _role(procfs.command(pid))
            label = f"{self.name} {role}".strip()
            while label in found:
                label += "+"
            found[label] = pid
        return found

    def check(self) -> None:
        """Raise SystemFailed where it has ended."""
        code = self._child.exit_code()
        if code is not None:
            raise SystemFailed(f"{self.name} ended with {code}\n{self._child.log_tail(30)}")

    def stop(self) -> None:
        """Ask it to end, and wait; children that it leaves behind are killed."""
        children = {pid: procfs.command(pid) for pid in procfs.descendants(self._child.pid)}
        self._child.stop(STOP_DEADLINE_S)
        for pid, command in children.items():
            if command and procfs.command(pid) == command:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        wait_until(
            f"the processes of {self.name} are gone",
            lambda: not any(procfs.command(pid) == text for pid, text in children.items() if text),
        )


def _role(command: str) -> str:
    for role in ("reader", "sink"):
        if role in command:
            return role
    return ""


class System(ABC):
    """One way from MySQL into Redis."""

    name: ClassVar[str]
    longest_s: ClassVar[float] = float("inf")
    """Longest drain that tells anything new: a slow system's rate is steady after that."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.folder = servers.folder / self.name
        self.folder.mkdir(exist_ok=True)

    @abstractmethod
    def command(self, tables: Sequence[str], snapshot: bool = False) -> list[str]:
        """Return the program and its arguments; `tables` as ``bench.users``."""

    def begin(self, workload: Workload) -> Running:
        """Follow the workload's table from now on; NATS and Redis are empty."""
        self.servers.restore("blank")
        self.forget()
        return self.run(workload.names())

    def attach(self, workload: Workload) -> None:
        """Follow the workload's table from now on, and stop: what comes is the backlog."""
        running = self.begin(workload)
        try:
            self.await_streaming(running, workload)
        finally:
            running.stop()
        self.keep()
        self.servers.save(self.name)

    def start(self, workload: Workload) -> Running:
        """Begin to drain, from the state of `attach`."""
        self.servers.restore(self.name)
        self.put_back()
        return self.run(workload.names())

    def run(self, tables: Sequence[str], snapshot: bool = False) -> Running:
        """Start it on what stands in the servers."""
        names = [f"{SCHEMA}.{table}" for table in tables]
        return Running(self.command(names, snapshot), self.folder, self.name)

    def await_streaming(self, running: Running, workload: Workload) -> None:
        """Return when a change made after the start has come through.

        Raises:
            SystemFailed: it ended.
            TimeoutError: none comes through.
        """
        number = 0
        with self.servers.redis_client() as client:

            def came_through() -> bool:
                nonlocal number
                running.check()
                number -= 1
                touch_marker(self.servers.mysql, workload.table, number)
                return progress(client.get(workload.marker_key)) < 0

            wait_until(f"{self.name} streams", came_through, ATTACH_DEADLINE_S, pause_s=0.05)
            settled = number
            wait_until(
                f"{self.name} catches up",
                lambda: progress(client.get(workload.marker_key)) == settled,
                ATTACH_DEADLINE_S,
            )

    def forget(self) -> None:
        """Drop state that the system keeps outside the servers."""

    def keep(self) -> None:
        """Remember that state."""

    def put_back(self) -> None:
        """Put that state back."""


def progress(value: object) -> int:
    """Return how many rows a marker's value in Redis says; 0 where there is none."""
    if not isinstance(value, bytes):
        return 0
    return int(msgspec.json.decode(value)["visits"])


class Cdc(System):
    """`cdc run`, as a user starts it."""

    name = "cdc"

    def command(self, tables: Sequence[str], snapshot: bool = False) -> list[str]:
        """See System."""
        options = [option for table in tables for option in ("--table", table)]
        if not snapshot:
            options.append("--no-snapshot")
        mysql, nats, redis = self.servers.mysql, self.servers.nats, self.servers.redis
        addresses = ["--mysql", mysql.url, "--nats", nats.url, "--redis", redis.url]
        return [sys.executable, "-m", "cdc", "run", *options, *addresses]


class Naive(System):
    """mysql-replication, `js.publish` and redis-py as their examples show them."""

    name = "naive"
    longest_s = 10.0

    def begin(self, workload: Workload) -> Running:
        """See System."""
        self.attach(workload)
        return self.run(workload.names())

    def attach(self, workload: Workload) -> None:  # noqa: ARG002 - every table
        """Note the binlog's end: this form keeps no state."""
        self.servers.restore("blank")
        with self.servers.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW BINARY LOG STATUS")
            row = cursor.fetchone()
            assert row is not None, "the binlog is on"
            self._position = (str(row[0]), str(row[1]))
        self.servers.save(self.name)

    def command(self, tables: Sequence[str], snapshot: bool = False) -> list[str]:
        """See System."""
        assert not snapshot, "the naive form has none"
        servers = (self.servers.mysql, self.servers.nats, self.servers.redis)
        ports = [str(server.port) for server in servers]
        names = ",".join(table.partition(".")[2] for table in tables)
        file, offset = self._position
        program = Path(__file__).with_name("naive.py")
        os.environ["MYSQL_PWD"] = PASSWORD  # a command line is for everybody to see
        return [sys.executable, str(program), "reader", *ports, file, offset, names]


class Debezium(System):
    """Debezium's embedded engine, straight into Redis: no broker, no message kept."""

    name = "debezium"

    def __init__(
        self, servers: Servers, java: Sequence[str], poll_ms: int = debezium.POLL_MS
    ) -> None:
        """Take the command line up to the class, from `benchmarks.debezium.prepare`."""
        super().__init__(servers)
        self._poll_ms = poll_ms
        self._java = java
        self._state = self.folder / "state"
        self._kept = self.folder / "kept"

    def command(self, tables: Sequence[str], snapshot: bool = False) -> list[str]:
        """See System."""
        self._state.mkdir(exist_ok=True)
        file = self.folder / "engine.properties"
        mysql = self.servers.mysql
        settings = debezium.properties(
            mysql.port, tables, self._state, snapshot=snapshot, poll_ms=self._poll_ms
        )
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return [*self._java, str(file), str(self.servers.redis.port)]

    def forget(self) -> None:
        """See System."""
        shutil.rmtree(self._state, ignore_errors=True)

    def keep(self) -> None:
        """See System."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self._state, self._kept)

    def put_back(self) -> None:
        """See System."""
        self.forget()
        shutil.copytree(self._kept, self._state)
