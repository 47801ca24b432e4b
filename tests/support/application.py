"""An application that publishes on our subjects by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

import nats
import nats.errors
import nats.js.errors

BARE = b'{"key":"users:app","value":"%d"}'


class Application:
    """Publishes bare messages to mysql.update by itself, at a steady rate."""

    def __init__(
        self, url: str, per_s: int, *, subject: str = "mysql.update", body: bytes = BARE
    ) -> None:
        """Begin to publish; every message is acknowledged by the stream.

        Args:
            body: what is published; ``%d`` in it is the number of the message.
        """
        self.sent = 0
        self._subject, self._body = subject, body
        self._url, self._pause_s = url, 1 / per_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._publish()), daemon=True)
        self._thread.start()

    async def _publish(self) -> None:
        client = await nats.connect(self._url)
        jetstream = client.jetstream()
        due_s = time.monotonic()
        while not self._stop.is_set():
            body = self._body.replace(b"%d", b"%d" % self.sent)
            with suppress(nats.errors.Error, nats.js.errors.Error):
                # The stream may not be there yet.
                await jetstream.publish(self._subject, body, timeout=2)
                self.sent += 1
            due_s += self._pause_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        await client.close()

    def stop(self) -> int:
        """End publishing; return the number of messages."""
        self._stop.set()
        self._thread.join()
        return self.sent
