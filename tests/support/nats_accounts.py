"""An operator, an account and users of NATS, as JWTs: what ``nsc`` makes.

Source: nats-io/jwt, v2/claims.go and v2/account_claims.go.
"""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys

_UNLIMITED = (
    *("subs", "data", "payload", "imports", "exports", "conn", "leaf"),
    *("mem_storage", "disk_storage", "streams", "consumer"),
)


class Operator:
    """One operator with the account of an application and that of the system."""

    def __init__(self) -> None:
        """Make all keys anew."""
        self._key = _key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = _key(nkeys.PREFIX_BYTE_ACCOUNT)
        system = _key(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = system
        self._operator = _jwt(self._key, self._key, "operator", {"system_account": _name(system)})
        self._revoked_s = 0

    @property
    def options(self) -> str:
        """What nats-server's configuration takes."""
        limits = dict.fromkeys(_UNLIMITED, -1)
        revoked = {"revocations": {"*": self._revoked_s}} if self._revoked_s else {}
        accounts = [
            (self._account, {"limits": limits | {"wildcards": True}} | revoked),
            # JetStream is refused in the system's account.
            (self._system, {"limits": dict.fromkeys(_UNLIMITED[:7], -1) | {"wildcards": True}}),
        ]
        preload = "\n".join(
            f"{_name(key)}: {_jwt(self._key, key, 'account', about)}" for key, about in accounts
        )
        return f"operator: {self._operator}\nresolver: MEMORY\nresolver_preload: {{\n{preload}\n}}"

    def revoke(self) -> None:
        """Revoke every user that was made before this second; `options` are others then."""
        self._revoked_s = int(time.time()) - 1

    def credentials(self, path: Path, *, expires_s: int = 0) -> str:
        """Write the file of a new user; return its text.

        Args:
            expires_s: from now; 0: never.
        """
        user = _key(nkeys.PREFIX_BYTE_USER)
        about = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        jwt = _jwt(self._account, user, "user", about, expires_s)
        text = (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{bytes(user.seed).decode()}\n"
            "------END USER NKEY SEED------\n"
        )
        path.write_text(text)
        path.chmod(0o600)
        return text


def _key(prefix: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), prefix))


def _name(key: nkeys.KeyPair) -> str:
    return bytes(key.public_key).decode()


def _jwt(
    issuer: nkeys.KeyPair,
    subject: nkeys.KeyPair,
    kind: str,
    about: dict[str, Any],
    expires_s: int = 0,
) -> str:
    claims = {
        "jti": os.urandom(16).hex(),
        "iat": int(time.time()),
        "iss": _name(issuer),
        "sub": _name(subject),
        "name": kind,
        "nats": about | {"type": kind, "version": 2},
    }
    if expires_s:
        claims["exp"] = int(time.time()) + expires_s
    head = _part({"typ": "JWT", "alg": "ed25519-nkey"})
    signed = f"{head}.{_part(claims)}"
    return f"{signed}.{_base64(issuer.sign(signed.encode()))}"


def _part(content: dict[str, Any]) -> str:
    return _base64(json.dumps(content, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
