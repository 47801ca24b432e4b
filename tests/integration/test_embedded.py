"""The embedded nats-server: same port and data after a restart, one user of a folder."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import nats
import pytest

from cdc.demo.servers import Nats
from cdc.errors import PermissionDenied, SettingsError
from cdc.jetstream.stream import connect
from cdc.process.embedded import EmbeddedNats, running
from cdc.settings import load
from cdc.telemetry import setup
from tests.support.checking import QUIET
from tests.support.pipeline import wait_for


async def publish_and_count(url: str) -> int:
    connection = await nats.connect(url)
    try:
        jetstream = connection.jetstream()
        await jetstream.add_stream(name="KEPT", subjects=["kept.>"])
        await jetstream.publish("kept.a", b"x")
        return (await jetstream.stream_info("KEPT")).state.messages
    finally:
        await connection.close()


def test_port_and_data_stay(tmp_path: Path) -> None:
    """Stopped and started again, clients find it, and what it holds, where it was."""
    with EmbeddedNats(tmp_path / "nats") as server:
        first = server.url
        assert asyncio.run(publish_and_count(first.reveal())) == 1
    with EmbeddedNats(tmp_path / "nats") as server:
        assert server.url == first
        assert asyncio.run(publish_and_count(first.reveal())) == 2


def test_a_folder_has_one_user(tmp_path: Path) -> None:
    """Two servers on one store would destroy it; the second is refused."""
    with (
        EmbeddedNats(tmp_path),
        pytest.raises(SettingsError, match="another cdc"),
        EmbeddedNats(tmp_path),
    ):
        pass


def test_another_command_finds_the_one_that_runs(tmp_path: Path) -> None:
    """By its port and its name; a server that has the port later is not taken for it."""
    assert running(tmp_path) is None
    with EmbeddedNats(tmp_path) as server:
        assert running(tmp_path) == server.url
    assert running(tmp_path) is None
    with Nats() as another:
        (tmp_path / "port").write_text(str(another.port))
        assert running(tmp_path) is None


def test_another_user_of_the_machine_gets_nowhere(tmp_path: Path) -> None:
    """Loopback is everybody's: without the password nothing is read and nothing is published."""
    folder = tmp_path / "nats"
    folder.mkdir(mode=0o755)

    async def without_a_login(url: str) -> None:
        with pytest.raises(PermissionDenied):
            await connect(url, name="test", inbox_prefix="_INBOX_test", log=QUIET)

    with EmbeddedNats(folder) as server:
        for login in ("", "cdc:wrong@", "cdc@"):
            asyncio.run(without_a_login(f"nats://{login}{server.url.address}"))
        assert server.url.password not in str(server.url)
        shown = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert server.url.password.encode() not in shown
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("password", "nats-server.conf", "lock"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_a_password_that_others_could_read_is_given_up(tmp_path: Path) -> None:
    """A new one is made: the old one may be known."""
    with EmbeddedNats(tmp_path) as server:
        known = server.url.password
    (tmp_path / "password").chmod(0o644)
    with EmbeddedNats(tmp_path) as server:
        assert server.url.password != known
        assert running(tmp_path) == server.url


def test_it_is_started_again_when_it_dies(tmp_path: Path) -> None:
    """SIGKILL of the server: said loudly, and it is back on its port with its data."""

    async def main() -> int:
        keeping = asyncio.create_task(server.keep(setup(load({}, {}), "cdc")))
        old = server.pid
        os.kill(old, signal.SIGKILL)
        await asyncio.to_thread(wait_for, "another process", lambda: server.pid != old)
        await asyncio.to_thread(wait_for, "its port", server.is_answering)
        count = await publish_and_count(server.url.reveal())
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        return count

    with EmbeddedNats(tmp_path) as server:
        asyncio.run(publish_and_count(server.url.reveal()))
        assert asyncio.run(main()) == 2
