"""Free TCP ports on loopback that stay free while a server is down."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port that nothing listens on, below those that clients are given.

    The kernel may give a port of the ephemeral range to any outgoing connection
    while the server restarts, even to a client that connects to that very port and
    so meets itself.

    Raises:
        OSError: no port is free.

    Source: ip(7), ip_local_port_range.
    """
    below = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32_768
    if below <= LOWEST:
        return _bind(0)
    for port in random.sample(range(LOWEST, below), k=min(1000, below - LOWEST)):
        try:
            return _bind(port)
        except OSError:
            continue
    raise OSError(f"no free port between {LOWEST} and {below}")


def _bind(port: int) -> int:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        candidate.bind(("127.0.0.1", port))
        return int(candidate.getsockname()[1])
