"""One address for several servers: connections go to whichever is the primary now."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from cdc.demo.servers import PASSWORD


class Switch:
    """A loopback port that forwards to another one, until it is switched over."""

    def __init__(self, port: int) -> None:
        """Listen, and forward to `port`."""
        self._target = port
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Address of root behind it."""
        return f"mysql://root:{PASSWORD}@127.0.0.1:{self.port}"

    def switch(self, port: int) -> None:
        """Forward to another port from now on; connections that are open are cut."""
        self._target = port
        for pair in list(self._pairs):
            for sock in pair:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with server:
                pair = (client, server)
                self._pairs.add(pair)
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()
                self._pairs.discard(pair)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.switch(0)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
