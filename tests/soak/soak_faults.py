"""What goes wrong: each fault is one function of the bench and the running pipeline."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import nats

from cdc.demo.server import Server
from cdc.process.supervisor import NOT_DRAINED
from tests.support.bench import TABLE, Bench
from tests.support.pair import Pair
from tests.support.pipeline import Process, descendants, wait_for

FREEZE_S = (0.2, 3.0)
BARE_KEY = "marks:77"
"""Of a captured table, but of no row."""


class Faults:
    """Injects one fault after the other; each ends with everything running again."""

    def __init__(
        self,
        bench: Bench,
        copies: Sequence[Process],
        pair: Pair,
        chance: random.Random,
        folder: Path,
        *,
        on_roll_back: Callable[[], None],
        at_rest: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Describe what there is to be harmed.

        Args:
            copies: `cdc run`, as often as it runs side by side.
            on_roll_back: called while Redis is down and has older values.
            at_rest: within it nobody writes to MySQL.
        """
        self._on_roll_back, self._at_rest = on_roll_back, at_rest
        self._bench, self._copies, self._pair = bench, copies, pair
        self._chance, self._folder = chance, folder
        self._kinds: dict[str, Callable[[], object]] = {
            "reader or sink killed": self._role_killed,
            "reader or sink frozen": self._role_frozen,
            "cdc run stopped": self._stopped,
            "cdc run killed": self._killed,
            "failover": self._failed_over,
            "all refreshed": bench.pipeline.refresh,
            "a table refreshed": lambda: bench.pipeline.refresh("--only", TABLE),
            "an application publishes": self._published,
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
        self.published = 0
        """Bare messages: each has the next number as its value."""

    def inject(self) -> str:
        """Inject one fault, every kind as often as any other; return its name."""
        if not self._next:
            self._next = sorted(self._kinds)
            self._chance.shuffle(self._next)
        name = self._next.pop()
        self._kinds[name]()
        return name

    def _role(self) -> int:
        roles = [pid for pid in descendants(self._copy().pid) if _is_role(pid)]
        return self._chance.choice(roles)

    def _copy(self) -> Process:
        return self._chance.choice(self._copies)

    def _failed_over(self) -> None:
        with self._at_rest():
            self._pair.wait_for_the_replica()
            self._pair.stop_replicating()
            self._pair.promote()
            self._bench.mysql = self._bench.servers["mysql"] = self._pair.primary
            self._pair.replicate()

    def _published(self) -> None:
        self.published += 1
        body = {"key": BARE_KEY, "value": str(self.published)}
        asyncio.run(_publish(self._bench.nats.url, json.dumps(body).encode()))

    def _role_killed(self) -> None:
        os.kill(self._role(), signal.SIGKILL)

    def _role_frozen(self) -> None:
        pid = self._role()
        os.kill(pid, signal.SIGSTOP)
        self._wait()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _stopped(self) -> None:
        process = self._copy()
        half_open = sum(link.half_open() for link in self._bench.links.values())
        code = process.stop(30.0)
        # What is in flight on a half-open connection cannot be known to be stored.
        late = f"cdc run ended with {code} after SIGTERM\n{process.text()[-3000:]}"
        assert code == 0 or (half_open and code == NOT_DRAINED), late
        self._start(process)

    def _start(self, process: Process) -> None:
        said = len(process.text())
        process.start()
        wait_until_begun(process, said)

    def _killed(self) -> None:
        process = self._copy()
        children = descendants(process.pid)
        process.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._start(process)

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


def wait_until_begun(process: Process, said: int = 0) -> None:
    """Wait until both roles have spoken: before, a server that does not answer ends `cdc run`.

    Args:
        said: so long its log was when it was started.
    """
    wait_for(
        "both roles",
        lambda: all(f'"role":"{role}"' in process.text()[said:] for role in ("reader", "sink")),
    )


async def _publish(url: str, body: bytes) -> None:
    client = await nats.connect(url)
    await client.jetstream().publish("mysql.update", body)
    await client.close()


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
