"""What tells a message of ours from any other: a MAC that a reader of this stream alone can make.

Pure.  The last field of every body of ours is ``"mac"``: BLAKE2b of 9 bytes over all that stands
before it, keyed with the stream's key, in base64::

    {"key":"users:7", …,"ts":1795414891568123,"v":1,"mac":"q83vASNFZ4mr"}

The key stands in the stream's own configuration, under `KEY_FIELD` of its metadata, where only
who may ask for that configuration (``$JS.API.STREAM.INFO``) sees it.  A login that may publish
alone cannot make a message that counts as ours: docs/adr/0017-who-may-say-what.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdc.compiled import native

KEY_FIELD, SINCE_FIELD = "cdc-key", "cdc-key-since"
"""Names in the stream's metadata: the key in hex; the first sequence that needs a MAC, or 1."""
KEY_BYTES = 32
MAC_BYTES = 9
"""72 bits, which are 12 characters of base64 without padding."""
_BEGIN, _END = b',"mac":"', b'"}'
TAIL_BYTES = len(_BEGIN) + MAC_BYTES * 4 // 3 + len(_END)
"""What a body's last brace becomes."""
_NEVER = 1 << 62

_native = native("cdc")


@dataclass(frozen=True, slots=True)
class Seal:
    """The key of one stream."""

    key: bytes = field(repr=False)
    since: int
    """Messages from this sequence on need a MAC; those before it are of a cdc that made none."""

    def sealed(self, body: bytes) -> bytes:
        """Return a body with its MAC."""
        return self.all_sealed([body])[0]

    def all_sealed(self, bodies: Iterable[bytes]) -> list[bytes]:
        """Return bodies, each with its MAC.

        >>> Seal(b"k", 1).all_sealed([b'{"v":1}'])
        [b'{"v":1,"mac":"N0aqB4mNN9hu"}']
        """
        if _native is not None:
            return list(_native.sealed(list(bodies), self.key))
        return [body[:-1] + _BEGIN + _mac(self.key, body[:-1]) + _END for body in bodies]

    def fits(self, seq: int, body: bytes) -> bool:
        """Return whether a message that stands at a sequence is one of ours."""
        if seq < self.since:
            return True
        if _native is not None:
            return bool(_native.fits(body, self.key))
        head, tail = body[:-TAIL_BYTES], body[-TAIL_BYTES:]
        return bool(head) and hmac.compare_digest(tail, _BEGIN + _mac(self.key, head) + _END)


UNSEALED = Seal(b"\0", _NEVER)
"""Takes every message for one of ours, as before there was a key."""


def has_mac(body: bytes) -> bool:
    """Return whether a body looks like one of ours, whoever wrote it."""
    return body[-TAIL_BYTES:].startswith(_BEGIN)


def mac_of(body: bytes) -> str:
    r"""Return the MAC that a body ends with.

    >>> mac_of(b'{"v":1,"mac":"N0aqB4mNN9hu"}')
    'N0aqB4mNN9hu'
    """
    return body[len(_BEGIN) - TAIL_BYTES : -len(_END)].decode("ascii", "replace")


def _mac(key: bytes, text: bytes) -> bytes:
    return base64.b64encode(hashlib.blake2b(text, key=key, digest_size=MAC_BYTES).digest())


def new_metadata(since: int = 1) -> dict[str, str]:
    """Return a new key, as a stream's metadata holds it.

    Args:
        since: messages before this sequence are there already, and have no MAC.
    """
    more = {SINCE_FIELD: str(since)} if since > 1 else {}
    return {KEY_FIELD: secrets.token_hex(KEY_BYTES)} | more


def seal_of(metadata: Mapping[str, str] | None) -> Seal | None:
    """Return the key that a stream's metadata holds; None: there is none yet.

    >>> seal_of({"cdc-key": "6b" * 32, "cdc-key-since": "8124"}).since
    8124
    >>> seal_of({"owner": "somebody"}) is None
    True
    """
    try:
        key = bytes.fromhex((metadata or {}).get(KEY_FIELD, ""))
        since = int((metadata or {}).get(SINCE_FIELD, "1")[:19])
    except ValueError:
        return None
    return Seal(key, since) if len(key) == KEY_BYTES else None
