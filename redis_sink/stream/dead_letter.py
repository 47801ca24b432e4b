"""What can never be applied is kept: ``cdc.dead.<pipeline>``, acknowledged first.

The position passes a message only once its dead letter is stored (invariant 3).  A
restart may send the last few again; the message id then makes NATS drop the copy.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence

import msgspec
import nats.errors

from cdc.errors import UnavailableError
from cdc.jetstream.connection import lost
from cdc.jetstream.dead_letters import Envelope
from cdc.jetstream.stream import API_TIMEOUT_S, Connection, right_refused
from cdc.jetstream.unacknowledged import unacknowledged
from redis_sink.plan.batch import DeadLetter

_AT_ONCE = 100
_ENVELOPE_BYTES = 16 << 10
"""What the envelope may take beside the body."""
_TEXT_CHARS = 512
"""Reason and key are cut here: each sign is six bytes of JSON at most."""


def envelope(letter: DeadLetter, stream: str, *, max_payload_bytes: int) -> bytes:
    """Return a dead letter's message, never larger than NATS takes."""
    room = max(0, max_payload_bytes - _ENVELOPE_BYTES) * 3 // 4
    body = letter.body[:room]
    return msgspec.json.encode(
        Envelope(
            reason=letter.reason[:_TEXT_CHARS],
            stream=stream,
            seq=letter.seq,
            subject=letter.subject,
            table=letter.table,
            key=letter.key[:_TEXT_CHARS] if letter.key is not None else None,
            body=base64.b64encode(body).decode(),
            body_bytes=len(letter.body),
            truncated=len(body) < len(letter.body),
        )
    )


class DeadLetters:
    """Sends to the dead-letter stream of one pipeline."""

    def __init__(self, nc: Connection, *, subject: str, stream: str, created: str) -> None:
        """Args: created: when the stream was created, so that its successor's are others."""
        self._nc, self._subject, self._stream, self._created = nc, subject, stream, created

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Store dead letters; return when NATS has acknowledged them all.

        Raises:
            PermissionDenied: this login may not publish them.
            UnavailableError: NATS is gone, or their stream is full.
        """
        for start in range(0, len(letters), _AT_ONCE):
            results = await asyncio.gather(
                *map(self._send, letters[start : start + _AT_ONCE]), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _send(self, letter: DeadLetter) -> None:
        data = envelope(letter, self._stream, max_payload_bytes=self._nc.max_payload)
        name = f"{self._subject}/{self._stream}/{self._created}/{letter.seq}"
        try:
            reply = await self._nc.request(
                self._subject, data, timeout=API_TIMEOUT_S, headers={"Nats-Msg-Id": name}
            )
        except nats.errors.TimeoutError:
            if self._nc.has_denied(self._subject):
                raise right_refused(self._subject) from None
            seen = f"NATS does not acknowledge {self._subject}"
            raise await unacknowledged(self._nc, self._stream, seen) from None
        except nats.errors.NoRespondersError:
            raise UnavailableError(f"no stream takes {self._subject}") from None
        except nats.errors.Error:
            raise lost(self._nc) from None
        error = json.loads(reply.data).get("error")
        if error:
            raise UnavailableError(
                f"a dead letter cannot be stored on {self._subject}: {error.get('description')}",
                fix="make room in the dead-letter stream; the sink waits and skips nothing",
            )
