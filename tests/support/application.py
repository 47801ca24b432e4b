"""An application that publishes on our subjects by itself."""

from __future__ import annotations

import asyncio
import threading
import time

import nats


class Application:
    """Publishes bare messages to mysql.update by itself, at a steady rate."""

    def __init__(self, url: str, per_s: int) -> None:
        """Begin to publish; every message is acknowledged by the stream."""
        self.sent = 0
        self._url, self._pause_s = url, 1 / per_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._publish()), daemon=True)
        self._thread.start()

    async def _publish(self) -> None:
        client = await nats.connect(self._url)
        jetstream = client.jetstream()
        due_s = time.monotonic()
        while not self._stop.is_set():
            value = b'{"key":"users:app","value":"%d"}' % self.sent
            await jetstream.publish("mysql.update", value)
            self.sent += 1
            due_s += self._pause_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        await client.close()

    def stop(self) -> int:
        """End publishing; return the number of messages."""
        self._stop.set()
        self._thread.join()
        return self.sent
