"""Redis commands as bytes."""

from __future__ import annotations

from typing import Any

import hiredis

_pack: Any = hiredis.pack_command  # its type says one-word commands only


def pack(*words: str | bytes) -> bytes:
    r"""Return a command as it goes over the wire.

    >>> pack("GET", "a")
    b'*2\r\n$3\r\nGET\r\n$1\r\na\r\n'
    """
    packed: bytes = _pack(words)
    return packed
