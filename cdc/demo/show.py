"""``cdc demo``: the main job on real servers, each change shown on its whole way.

The pipeline is the real command in a process of its own; this module only looks on: at the
messages on NATS, and at Redis through its keyspace notifications, which give the moment at which
a value can be seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdc.demo.legacy import DAY, Application, Deed
from cdc.demo.servers import MySQL, Nats, Redis, start_together
from cdc.errors import CdcError, UnavailableError
from cdc.telemetry import wants_colour

TABLE = "your_table"
STEP_DEADLINE_S = 15.0
STOP_DEADLINE_S = 15.0
POLL_S = 0.02
WIDE = 4000
LOG_LINES = 15


def run(*, keep: bool) -> int:
    """Show the demo; return 0 when MySQL equals Redis at its end, 1 when not.

    Args:
        keep: stay until Ctrl-C, with the pipeline running.

    Raises:
        CdcError: a server or the pipeline does not start.
    """
    console = _console()
    mysql, nats = MySQL(), Nats(has_password=True)
    redis_server = Redis(("--notify-keyspace-events", "KA"), has_password=True)
    console.print("Starting MySQL, NATS and Redis …", style="dim")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdc-demo-")))
        start_together(stack, mysql, nats, redis_server)
        for server in (mysql, nats, redis_server):
            console.print(
                f"  {server.name:5}  {server.version:8} 127.0.0.1:{server.port}", style="dim"
            )
        application = Application(mysql)
        stack.callback(application.close)
        application.set_up()
        pipeline = Pipeline(mysql, nats, redis_server, folder / "cdc.log")
        stack.callback(pipeline.close)
        console.print(f"\n$ cdc run --table {TABLE}", style="bold")
        demo = Demo(console, application, pipeline, mysql, nats, redis_server)
        try:
            return asyncio.run(demo.play(keep=keep))
        except TimeoutError:
            raise pipeline.stuck() from None


def _console() -> Console:
    console = Console(highlight=False, no_color=not wants_colour(os.environ))
    if not console.is_terminal:
        console.width = WIDE
    return console


class Pipeline:
    """``cdc run`` as a user starts it."""

    def __init__(self, mysql: MySQL, nats: Nats, redis_server: Redis, log: Path) -> None:
        """Start it; what it says goes to `log`."""
        self._log = log
        ours = {
            "CDC_MYSQL_URL": f"{mysql.url}/shop",
            "CDC_NATS_URL": nats.url,
            "CDC_REDIS_URL": redis_server.url,
            "CDC_LOG_FORMAT": "human",
        }
        # Of the user's own settings none belongs to the demo's servers.
        others = {name: text for name, text in os.environ.items() if not name.startswith("CDC_")}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cdc", "run", "--table", TABLE],
                env=others | ours,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            UnavailableError: it ended; with the end of its log.
        """
        if self._process.poll() is not None:
            raise self.stuck()

    def stuck(self) -> CdcError:
        """Return an error with the end of its log."""
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        code = self._process.poll()
        what = "does not go on" if code is None else f"ended with exit code {code}"
        return UnavailableError(f"cdc run {what}; the end of its log:\n{tail}")

    def stop(self) -> int:
        """Ask it to drain; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_DEADLINE_S)

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Demo:
    """Does the application's day, and shows each deed on its way."""

    def __init__(
        self,
        console: Console,
        application: Application,
        pipeline: Pipeline,
        mysql: MySQL,
        nats: Nats,
        redis_server: Redis,
    ) -> None:
        """Take everything that runs already."""
        self._console, self._application, self._pipeline = console, application, pipeline
        self._nats_url, self._redis_url = nats.url, redis_server.url
        self._mysql_url = f"{mysql.url}/shop"
        self._messages: list[tuple[str, dict[str, Any], str]] = []
        self._seen_at: dict[str, float] = {}
        self._redis: Any = None

    async def play(self, *, keep: bool) -> int:
        """Show everything; return the exit code.

        Raises:
            TimeoutError: a change does not arrive.
        """
        async with AsyncExitStack() as stack:
            await self._look_on(stack)
            began_s = time.monotonic()
            await self._until(self._is_equal)
            rows = len(self._application.rows())
            self._console.print(
                f"  the {rows} existing rows are in Redis "
                f"({time.monotonic() - began_s:.1f} s with its start)\n",
                style="dim",
            )
            latencies_ms = [await self._show(n, deed) for n, deed in enumerate(DAY, 1)]
            equal = await self._compare(latencies_ms)
            if keep:
                await self._stay()
        code = self._pipeline.stop()
        self._console.print(f"cdc run drained and left with exit code {code}", style="dim")
        return 0 if equal and code == 0 else 1

    async def _look_on(self, stack: AsyncExitStack) -> None:
        import nats
        import redis.asyncio

        self._redis = redis.asyncio.from_url(self._redis_url)
        stack.push_async_callback(self._redis.aclose)
        pubsub = self._redis.pubsub()
        stack.push_async_callback(pubsub.aclose)
        await pubsub.psubscribe(f"__keyspace@0__:{TABLE}:*")
        watching = asyncio.create_task(self._watch(pubsub))
        stack.callback(watching.cancel)
        connection = await nats.connect(self._nats_url)
        stack.push_async_callback(connection.close)

        async def received(message: Any) -> None:
            body = message.data.decode()
            self._messages.append((message.subject, json.loads(body), body))

        await connection.subscribe("mysql.>", cb=received)
        await connection.flush()

    async def _watch(self, pubsub: Any) -> None:
        async for event in pubsub.listen():
            if event["type"] == "pmessage":
                key = event["channel"].decode().partition("__:")[2]
                self._seen_at[key] = time.time()

    async def _show(self, number: int, deed: Deed) -> float:
        """Do one deed and show it; return the milliseconds from commit to Redis."""
        self._messages.clear()
        self._seen_at.clear()
        committed = await asyncio.to_thread(self._application.do, deed)
        await self._until(lambda: len(self._changes()) >= deed.rows)
        keys = list(dict.fromkeys(k for _, m, _ in self._changes() for k in _keys(m)))
        await self._until(lambda: all(key in self._seen_at for key in keys))
        latency_ms = max(0.0, max(self._seen_at[key] for key in keys) - committed) * 1000
        title = Text(f"{number}  {deed.title}", style="bold")
        title.append(f"   commit → Redis {latency_ms:.1f} ms", style="green")
        self._console.print(title)
        for statement in deed.statements:
            self._line("MySQL", "cyan", statement)
        for subject, _, body in self._changes():
            self._line("NATS", "magenta", f"{subject}  {body}")
        for key in keys:
            value = await self._redis.get(key)
            shown = "(gone)" if value is None else value.decode()
            self._line("Redis", "red", f"{key} = {shown}")
        self._console.print()
        return latency_ms

    def _changes(self) -> list[tuple[str, dict[str, Any], str]]:
        return [m for m in self._messages if m[1]["op"] in ("insert", "update", "delete")]

    def _line(self, who: str, colour: str, what: str) -> None:
        row = Table.grid(padding=(0, 1))
        row.add_column(width=8, justify="right")
        row.add_column(overflow="fold")
        row.add_row(Text(who, style=colour), Text(what))
        self._console.print(row)

    async def _until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(STEP_DEADLINE_S):
            while True:
                holds = condition()
                if asyncio.iscoroutine(holds):
                    holds = await holds
                if holds:
                    return
                self._pipeline.check()
                await asyncio.sleep(POLL_S)

    async def _is_equal(self) -> bool:
        expected = {f"{TABLE}:{row['id']}": row for row in self._application.rows()}
        keys = [key.decode() async for key in self._redis.scan_iter(match=f"{TABLE}:*")]
        values = await self._redis.mget(keys) if keys else []
        return expected == {k: json.loads(v) for k, v in zip(keys, values, strict=True) if v}

    async def _compare(self, latencies_ms: list[float]) -> bool:
        equal = await self._is_equal()
        middle_ms = sorted(latencies_ms)[len(latencies_ms) // 2]
        rows = len(self._application.rows())
        if equal:
            self._console.print(
                f"MySQL equals Redis: {rows} rows, every column. "
                f"Median commit → Redis {middle_ms:.1f} ms.",
                style="bold green",
            )
        else:
            self._console.print("MySQL and Redis differ.", style="bold red")
        return equal

    async def _stay(self) -> None:
        self._console.print("\nEverything keeps running until Ctrl-C:", style="bold")
        for url in (self._mysql_url, self._nats_url, self._redis_url):
            self._console.print(f"  {url}")
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        while not stop.is_set():
            self._pipeline.check()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1)


def _keys(message: dict[str, Any]) -> list[str]:
    return [message[name] for name in ("old_key", "key") if message.get(name)]
