"""A nats-server of our own: ``nats = "embedded:DIR"``.

It listens on loopback, stores in DIR, and keeps its port in DIR/port, so that other clients find
it again, and the password of its only login in DIR/password: loopback is open to every user of the
machine, DIR to its owner alone.  It ends with this process, however that ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import socket
import string
import time
from pathlib import Path
from typing import Self

from cdc.demo import fetch
from cdc.demo.ports import free_port
from cdc.demo.process import Child
from cdc.errors import CdcError, PermissionDenied, SettingsError, UnavailableError
from cdc.telemetry import Log
from cdc.url import Url

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 8.0
WATCH_EVERY_S = 0.2
PAUSE_S = 1.0
_PROBE_PAUSE_S = 0.02
_ROOM_BYTES = 16 << 20
"""Must be free before a server that found its disk full is started again."""
_FULL_BELOW_BYTES = 1 << 20
_SAID_EVERY_S = 60.0
_STORE_MOST_BYTES = 1 << 60
"""The disk is the limit.  Unsaid, nats-server takes three quarters of what is free when it starts,
and keeps to that when room is made."""
_WRITE_FAILED = b"critical write error"
"""What nats-server logs before it stores nothing more in a stream, even with room.
Source: nats-server 2.15, stream.go and filestore.go."""
_NAME = "cdc-"
_USER, _PASSWORD = "cdc", "password"
_PASSWORD_LENGTH = 32


class EmbeddedNats:
    """The server, as a context manager around the run.

    ``with EmbeddedNats(Path("var/nats")) as server: settings.nats = server.url``
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._child: Child | None = None
        self._lock = -1
        self._port = 0
        self._password = ""
        self._read_to = 0

    @property
    def url(self) -> Url:
        """Where it listens, with the login: ``nats://cdc:PASSWORD@127.0.0.1:20124``."""
        return _url(self._port, self._password)

    @property
    def pid(self) -> int:
        """Process id of the server; 0 while it does not run."""
        return self._child.pid if self._child else 0

    def is_answering(self) -> bool:
        """Return whether a client is greeted; the greeting comes after the store is restored."""
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

    async def keep(self, log: Log) -> None:
        """Start it again whenever it ends, or can write again to a disk that was full.

        Until cancelled.
        """
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if self._child is None:
                continue
            if self._child.exit_code() is None:
                if not self._cannot_write():
                    continue
                await self._wait_for_room(log)
                await asyncio.to_thread(self._child.stop, STOP_DEADLINE_S)
            else:
                log.error("embedded nats-server exited, restarting", port=self._port)
            try:
                await asyncio.to_thread(self._start)
            except CdcError as error:
                log.warning("embedded nats-server does not start, retrying", why=error.seen)
                await asyncio.sleep(PAUSE_S)

    def _cannot_write(self) -> bool:
        """Return whether it has failed to write, as its log says, or as it soon must."""
        if _free_bytes(self._folder) < _FULL_BELOW_BYTES:
            return True  # the log may be where the store is, and lack the line
        assert self._child is not None
        with self._child.log.open("rb") as log:
            log.seek(self._read_to)
            text = log.read()
        # A line that is being written is read again.
        self._read_to += text.rfind(b"\n") + 1
        return _WRITE_FAILED in text.lower()

    async def _wait_for_room(self, log: Log) -> None:
        said_s = -_SAID_EVERY_S
        while not _has_room(self._folder):
            if time.monotonic() > said_s + _SAID_EVERY_S:
                said_s = time.monotonic()
                log.error(
                    "disk of the embedded nats-server is full, waiting for room",
                    folder=str(self._folder),
                    room_bytes=_ROOM_BYTES,
                )
            await asyncio.sleep(PAUSE_S)
        log.warning("disk of the embedded nats-server has room, restarting")

    def _take_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Also one that was there before: the store has all rows.
            self._folder.chmod(0o700)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._password = self._kept_password()
        except BlockingIOError:
            self.__exit__()
            raise SettingsError(
                f"another cdc runs its embedded NATS in {self._folder}",
                fix="stop it, or use another folder: --nats embedded:DIR",
            ) from None
        except OSError as error:
            self.__exit__()
            raise SettingsError(
                f"the folder of the embedded NATS cannot be used: {self._folder}: {error.strerror}",
                fix="use a folder that this user may write to: --nats embedded:DIR",
            ) from None

    def _start(self) -> None:
        program = fetch.bring("nats")
        self._port = self._kept_port()
        config = {
            "host": "127.0.0.1",
            "port": self._port,
            "server_name": f"{_NAME}{os.getpid()}",
            "authorization": {"user": _USER, "password": self._password},
            "jetstream": {
                "store_dir": str(self._folder),
                "max_file_store": _STORE_MOST_BYTES,
            },
        }
        path = self._folder / "nats-server.conf"
        text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in config.items())
        log = self._folder / "nats-server.log"
        try:
            _write_private(path, text)
            self._read_to = log.stat().st_size if log.exists() else 0
        except OSError as error:
            raise UnavailableError(
                f"the embedded nats-server does not start: {self._folder}: {error.strerror}",
                fix="make room on its disk",
            ) from None
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

    def _kept_password(self) -> str:
        kept = self._folder / _PASSWORD
        if (password := _read(kept)) and kept.stat().st_mode & 0o077 == 0:
            return password
        # Letters alone: in an address they are what they are.
        letters = (secrets.choice(string.ascii_letters) for _ in range(_PASSWORD_LENGTH))
        password = "".join(letters)
        _write_private(kept, f"{password}\n")
        return password

    def _wait_until_it_answers(self) -> None:
        assert self._child is not None
        deadline_s = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline_s and self._child.exit_code() is None:
            if self.is_answering():
                return
            time.sleep(_PROBE_PAUSE_S)
        raise UnavailableError(
            f"the embedded nats-server does not start:\n{self._child.log_tail(5)}",
            fix=f"read its log: {self._child.log}",
        )


def running(folder: Path) -> Url | None:
    """Return where a server that another cdc runs in this folder listens; None: none runs.

    Raises:
        PermissionDenied: this user may not read the folder.
    """
    try:
        port, password = int(_read(folder / "port")), _read(folder / _PASSWORD)
    except ValueError:
        return None
    except PermissionError:
        raise PermissionDenied(
            f"only its owner may read the folder of the embedded NATS: {folder}",
            fix="run this as the user who runs cdc run",
        ) from None
    # Another program on that port has another name.
    is_ours = f'"server_name":"{_NAME}'.encode() in _greeting(port)
    return _url(port, password) if is_ours else None


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    # What is kept for root is free for root.
    return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize


def _has_room(folder: Path) -> bool:
    """Return whether room for some messages can be written: a quota refuses what the disk has."""
    trial = folder / "room"
    try:
        file = os.open(trial, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, _ROOM_BYTES)
        finally:
            os.close(file)
            trial.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _url(port: int, password: str) -> Url:
    user = _USER if password else ""
    return Url(scheme="nats", hosts=(("127.0.0.1", port),), user=user, password=password)


def _read(path: Path) -> str:
    """Return a file's only line; empty where there is no such file.

    Raises:
        PermissionError: this user may not read it.
    """
    try:
        return path.read_text().strip()
    except PermissionError:
        raise
    except (OSError, ValueError):
        return ""


def _write_private(path: Path, text: str) -> None:
    """Put a text in place whole, in a file for its owner's eyes alone."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as opened:
        opened.write(text)
    partial.rename(path)


def _greeting(port: int) -> bytes:
    """Return the first line that a server sends; empty when it sends nothing."""
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
