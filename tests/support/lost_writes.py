"""Writes that a server acknowledged and lost: what a power cut does, and a restored backup."""

from __future__ import annotations

import shutil
from pathlib import Path

from cdc.demo.servers import Nats, Server
from tests.support.pipeline import wait_for
from tests.support.tally import TALLY


def wait_until_written(nats: Nats) -> None:
    """Wait until a heartbeat is in NATS's file: it acknowledges before it writes."""

    def is_written() -> bool:
        files = nats.folder.rglob("msgs/*.blk")
        return any(b"mysql.heartbeat" in path.read_bytes() for path in files)

    wait_for("a heartbeat in NATS's file", is_written)


class Saved:
    """A server's data folder as it was at one moment.

    ``saved = Saved(nats, tmp_path / "nats")``, let it go on, then ``saved.put_back()``: the
    server is killed and comes back with the old data.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        """Freeze the server for as long as its folder is copied."""
        self._server, self._folder = server, folder
        server.pause()
        try:
            shutil.copytree(server.folder, folder)
        finally:
            server.resume()

    def put_back(self) -> None:
        """Kill the server and start it with the old data; the copy may be put back again."""
        self._server.kill()
        TALLY.count("SIGKILL")
        shutil.rmtree(self._server.folder)
        shutil.copytree(self._folder, self._server.folder)
        self._server.start()
        TALLY.count("restart")
