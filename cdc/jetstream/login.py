"""How to log in to NATS: what a credentials file holds, and its answer to a server's nonce.

Pure, but for the file that is read.  nats-py reads such files too, but takes an empty one for
one that has not been written yet, and answers before it is known whether anybody listens in.
Source: nats.io, "JWT Authentication Guide"; nats-server, server/auth.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path

from cdc.errors import SettingsError

_LARGEST_BYTES = 1 << 20
_BLOCK = r"-{3,}\s*BEGIN %s\s*-{3,}\s*(\S+)\s*-{3,}\s*END %s\s*-{3,}"
_JWT = re.compile(_BLOCK % ("NATS USER JWT", "NATS USER JWT"))
_SEED = re.compile(_BLOCK % ("USER NKEY SEED", "USER NKEY SEED"))
_USER_SEED = re.compile("SU[A-Z2-7]{56}")
"""A prefix, 32 bytes and a checksum in base32, of a user; an account's begins with SA."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a credentials file holds: who one is, and the key that proves it."""

    jwt: str
    seed: str = field(repr=False)

    def sign(self, nonce: str) -> bytes:
        """Return the signature of a server's nonce, as CONNECT takes it."""
        # Only here: a start without credentials is quicker without them.
        import nkeys

        pair = nkeys.from_seed(self.seed.encode())
        return base64.b64encode(pair.sign(nonce.encode()))


def read_credentials(path: str) -> Credentials:
    """Return what a credentials file holds, as ``nsc generate creds`` writes it.

    Raises:
        SettingsError: it is missing, may not be read, or holds something else.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _unusable(path, f"cannot be read: {why}") from None
    if not content.strip():
        raise _unusable(path, "is empty")
    try:
        return parse_credentials(content)
    except ValueError as error:
        raise _unusable(path, str(error)) from None


def parse_credentials(content: bytes) -> Credentials:
    """Return the content of a credentials file.

    Raises:
        ValueError: what is wrong with them, without a part of them.
    """
    text = content.decode("ascii", "replace") if len(content) <= _LARGEST_BYTES else ""
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        missing = " and no ".join(
            name for name, found in (("NATS USER JWT", jwt), ("USER NKEY SEED", seed)) if not found
        )
        raise ValueError(f"has no {missing}")
    if jwt[1].count(".") != 2:
        raise ValueError("has a NATS USER JWT that is none")
    if not _is_user_seed(seed[1]):
        raise ValueError("has a USER NKEY SEED that is none of a user, or is damaged")
    return Credentials(jwt=jwt[1], seed=seed[1])


def _is_user_seed(text: str) -> bool:
    """Return whether it has the form and the checksum; nkeys looks at the form alone.

    Source: nats-io/nkeys, strkey.go and crc16.go: CRC-16/XMODEM, its low byte first.
    """
    if not _USER_SEED.fullmatch(text):
        return False
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    return binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little")


def _unusable(path: str, why: str) -> SettingsError:
    return SettingsError(
        f"the credentials file of the NATS URL {why}: {path}",
        safe="nothing was sent",
        fix="name a file with a user's JWT and seed: ?creds=FILE in the NATS URL; such a file\n"
        "is written by nsc generate creds, or downloaded from who runs the server",
    )
