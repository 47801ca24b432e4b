"""A nats-server of our own: ``nats = "embedded:DIR"``.

It listens on loopback, stores in DIR, and keeps its port in DIR/port, so that other clients find
it again.  It ends with this process, whatever ends that.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Self

from cdc.demo import fetch
from cdc.demo.ports import free_port
from cdc.demo.process import Child
from cdc.errors import CdcError, SettingsError, UnavailableError
from cdc.url import Url

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 8.0
WATCH_EVERY_S = 0.2
PAUSE_S = 1.0
_PROBE_PAUSE_S = 0.02
_NAME = "cdc-"


class EmbeddedNats:
    """The server, as a context manager around the run.

    ``with EmbeddedNats(Path("var/nats")) as server: settings.nats = server.url``
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._child: Child | None = None
        self._lock = -1
        self._port = 0

    @property
    def url(self) -> Url:
        """Where it listens: ``nats://127.0.0.1:20124``."""
        return Url(scheme="nats", hosts=(("127.0.0.1", self._port),))

    @property
    def pid(self) -> int:
        """Process id of the server; 0 while there is none."""
        return self._child.pid if self._child else 0

    def is_answering(self) -> bool:
        """Say whether a client is greeted; the greeting comes after the store is restored."""
        return _greeting(self._port).startswith(b"INFO")

    def __enter__(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            SettingsError: the folder cannot be used, or another cdc uses it.
            UnavailableError: there is no nats-server program, or it does not start.
        """
        self._take_folder()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.stop(STOP_DEADLINE_S)
            self._child = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def keep(self, log: Any) -> None:
        """Start it again whenever it ends, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if self._child is None or self._child.exit_code() is None:
                continue
            log.error("the embedded nats-server died and is started again", port=self._port)
            try:
                await asyncio.to_thread(self._start)
            except CdcError as error:
                log.warning("the embedded nats-server does not start; trying again", why=error.seen)
                await asyncio.sleep(PAUSE_S)

    def _take_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.__exit__()
            raise SettingsError(
                f"another cdc runs its embedded NATS in {self._folder}",
                remedy="stop it, or give this one another folder: --nats embedded:DIR",
            ) from None
        except OSError as error:
            raise SettingsError(
                f"the folder of the embedded NATS cannot be used: {self._folder}: {error.strerror}",
                remedy="give a folder that this user may write: --nats embedded:DIR",
            ) from None

    def _start(self) -> None:
        program = fetch.bring("nats")
        self._port = self._kept_port()
        config = {
            "host": "127.0.0.1",
            "port": self._port,
            "server_name": f"{_NAME}{os.getpid()}",
            "jetstream": {"store_dir": str(self._folder)},
        }
        path = self._folder / "nats-server.conf"
        path.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in config.items()))
        log = self._folder / "nats-server.log"
        self._child = Child(program.command("--config", str(path)), log, folder=self._folder)
        self._wait_until_it_answers()

    def _kept_port(self) -> int:
        kept = self._folder / "port"
        try:
            port = int(kept.read_text())
        except (OSError, ValueError):
            port = 0
        if not port or _is_taken(port):
            port = free_port()
            kept.write_text(f"{port}\n")
        return port

    def _wait_until_it_answers(self) -> None:
        assert self._child is not None
        deadline_s = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline_s and self._child.exit_code() is None:
            if self.is_answering():
                return
            time.sleep(_PROBE_PAUSE_S)
        raise UnavailableError(
            f"the embedded nats-server does not start:\n{self._child.log_tail(5)}",
            remedy=f"read its log: {self._child.log}",
        )


def running(folder: Path) -> Url | None:
    """Return where a server that another cdc runs in this folder listens; None: there is none."""
    try:
        port = int((folder / "port").read_text())
    except (OSError, ValueError):
        return None
    # Whatever else has the port by now does not call itself so.
    is_ours = f'"server_name":"{_NAME}'.encode() in _greeting(port)
    return Url(scheme="nats", hosts=(("127.0.0.1", port),)) if is_ours else None


def _greeting(port: int) -> bytes:
    """Return the first line that a server sends; empty when there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            return connection.makefile("rb").readline()
    except OSError:
        return b""


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
