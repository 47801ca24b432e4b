"""`cdc run` as a user starts it: processes, addresses in the environment, logs in a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.support.tally import TALLY

DEADLINE_S = 60.0


def wait_for(what: str, condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not within the deadline; says what was waited for.
    """
    end, pause_s = time.monotonic() + deadline_s, 0.005
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 0.05)  # a condition may cost a connection or a long log


class Process:
    """One `cdc` process (and its children) with its log."""

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        log: Path,
        program: tuple[str, ...] = ("cdc",),
    ) -> None:
        """Describe a process; `start` starts it.

        Args:
            program: a module, and what stands before `arguments`.
        """
        self.arguments = arguments
        self.program = program
        self.log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; its output is appended to the log."""
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.program, *self.arguments],
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it with SIGKILL, as the kernel would."""
        self._end()
        TALLY.count("SIGKILL")

    def let_run(self, seconds: float) -> None:
        """Let a random time pass, which is no wait for anything; it may not end meanwhile."""
        try:
            code = self.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"{self.log.name} ended with {code}: {self.text()[-2000:]}")

    def kill_after(self, seconds: float) -> None:
        """Let it run for a random time, kill it with SIGKILL and start it again."""
        self.let_run(seconds)
        self.kill()
        self.start()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop it with SIGSTOP: its connections stay open and silent."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self, deadline_s: float = 15.0) -> int:
        """Ask it to drain with SIGTERM; return its exit code."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline_s)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait until it ends by itself; return its exit code."""
        return self.process.wait(deadline_s)

    def text(self) -> str:
        """All that it printed."""
        return self.log.read_text(errors="replace")

    def peak_bytes(self) -> dict[int, int]:
        """Greatest resident memory of each process of it: ``{4711: 61865984}``."""
        return {pid: _peak_bytes(pid) for pid in (self.pid, *descendants(self.pid))}

    def close(self) -> None:
        """End it and its children, whatever they do."""
        if self.is_running():
            children = descendants(self.pid)
            self._end()
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the process ids of children, their children, and so on."""
    with suppress(OSError):
        text = " ".join(p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/children"))
        return [d for child in map(int, text.split()) for d in (child, *descendants(child))]
    return []


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no VmHWM")


class Pipeline:
    """The three servers' addresses, and `cdc run` on them."""

    def __init__(self, folder: Path, *, mysql: str, nats: str, redis: str, tables: str) -> None:
        """Describe a pipeline; its logs go to `folder`."""
        self.folder = folder
        self.environment = {
            "CDC_MYSQL_URL": mysql,
            "CDC_NATS_URL": nats,
            "CDC_REDIS_URL": redis,
            "CDC_TABLES": tables,
            # A gap that a test does not make is a fault: by default cdc would heal it.
            "CDC_ON_GAP": "stop",
        }
        self._processes: list[Process] = []

    def process(
        self, *arguments: str, name: str = "run", program: tuple[str, ...] = ("cdc",)
    ) -> Process:
        """Return a process `cdc run …`, not started."""
        log = self.folder / f"{name}{len(self._processes)}.log"
        process = Process(["run", *arguments], self.environment, log, program)
        self._processes.append(process)
        return process

    def run(self, *arguments: str) -> Process:
        """Start `cdc run …`."""
        return self.process(*arguments).start()

    def impatient(self, *arguments: str) -> tuple[Process, Process]:
        """Start reader and sink with pauses cut short: see `tests.support.impatient`."""
        program = ("tests.support.impatient",)
        reader, sink = (
            self.process("--role", role, *arguments, name=role, program=program).start()
            for role in ("reader", "sink")
        )
        return reader, sink

    def refresh(self, *arguments: str) -> dict[str, Any]:
        """Run `cdc refresh` as a person would; return what it says.

        Raises:
            AssertionError: it refuses.
        """
        done = subprocess.run(
            [sys.executable, "-m", "cdc", "refresh", "--yes", "--json", *arguments],
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def logs(self) -> str:
        """Return the last lines of every log, for a failed test."""
        return "\n".join(
            f"--- {p.log.name} {p.arguments}\n{p.text()[-3000:]}"
            for p in self._processes
            if p.log.exists()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for process in self._processes:
            process.close()
        if kind is not None:
            print(self.logs())
