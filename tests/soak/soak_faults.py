"""What goes wrong: each fault is one function of the bench and the running pipeline."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cdc.demo.server import Server
from tests.support.bench import Bench
from tests.support.pipeline import Process, descendants

FREEZE_S = (0.2, 3.0)


class Faults:
    """Injects one fault after the other; each ends with everything running again."""

    def __init__(
        self,
        bench: Bench,
        process: Process,
        chance: random.Random,
        folder: Path,
        on_roll_back: Callable[[], None],
    ) -> None:
        """Args: on_roll_back: called while Redis is down and has older values."""
        self._on_roll_back = on_roll_back
        self._bench, self._process, self._chance, self._folder = bench, process, chance, folder
        self._kinds: dict[str, Callable[[], object]] = {
            "reader or sink killed": self._role_killed,
            "reader or sink frozen": self._role_frozen,
            "cdc run stopped": self._stopped,
            "cdc run killed": self._killed,
            "MySQL killed": lambda: _restarted(bench.mysql, kill=True),
            "NATS killed": lambda: _restarted(bench.nats, kill=True),
            "Redis killed": lambda: _restarted(bench.redis, kill=True),
            "MySQL restarted": lambda: _restarted(bench.mysql, kill=False),
            "NATS restarted": lambda: _restarted(bench.nats, kill=False),
            "Redis restarted": lambda: _restarted(bench.redis, kill=False),
            "MySQL frozen": lambda: self._frozen(bench.mysql),
            "NATS frozen": lambda: self._frozen(bench.nats),
            "Redis frozen": lambda: self._frozen(bench.redis),
            "dump connection reset": self._bench.kill_dumps,
            "connections to MySQL cut": lambda: self._cut("mysql"),
            "connections to NATS cut": lambda: self._cut("nats"),
            "connections to Redis cut": lambda: self._cut("redis"),
            "half-open to MySQL": lambda: self._half_open("mysql"),
            "half-open to NATS": lambda: self._half_open("nats"),
            "half-open to Redis": lambda: self._half_open("redis"),
            "NATS lost its tail": lambda: self._put_back(bench.nats),
            "Redis put back": lambda: self._put_back(bench.redis, self._on_roll_back),
        }
        self._next: list[str] = []

    def inject(self) -> str:
        """Inject one fault, every kind as often as any other; return its name."""
        if not self._next:
            self._next = sorted(self._kinds)
            self._chance.shuffle(self._next)
        name = self._next.pop()
        self._kinds[name]()
        return name

    def _role(self) -> int:
        roles = [pid for pid in descendants(self._process.pid) if _is_role(pid)]
        return self._chance.choice(roles)

    def _role_killed(self) -> None:
        os.kill(self._role(), signal.SIGKILL)

    def _role_frozen(self) -> None:
        pid = self._role()
        os.kill(pid, signal.SIGSTOP)
        self._wait()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _stopped(self) -> None:
        code = self._process.stop(30.0)
        assert code == 0, f"cdc run ended with {code} after SIGTERM"
        self._process.start()

    def _killed(self) -> None:
        children = descendants(self._process.pid)
        self._process.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.start()

    def _frozen(self, server: Server) -> None:
        server.pause()
        self._wait()
        server.resume()

    def _cut(self, name: str) -> None:
        self._bench.links[name].cut(reset=self._chance.random() < 0.5)

    def _half_open(self, name: str) -> None:
        self._bench.links[name].swallow()

    def _put_back(self, server: Server, then: Callable[[], None] = lambda: None) -> None:
        """Put an older copy of the data in place: what lost writes leave."""
        copy = self._folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        server.pause()
        try:
            shutil.copytree(server.folder, copy)
        finally:
            server.resume()
        self._wait()
        server.kill()
        shutil.rmtree(server.folder)
        shutil.copytree(copy, server.folder)
        then()
        server.start()

    def _wait(self) -> None:
        time.sleep(self._chance.uniform(*FREEZE_S))


def _is_role(pid: int) -> bool:
    with suppress(OSError):
        return b"cdc" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _restarted(server: Server, *, kill: bool) -> None:
    if kill:
        server.kill()
    else:
        server.stop()
    server.start()
