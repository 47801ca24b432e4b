"""Writes that a server acknowledged and lost: what a power cut does, and a restored backup."""

from __future__ import annotations

import shutil
from pathlib import Path

from cdc.demo.servers import Server
from tests.support.tally import TALLY


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
