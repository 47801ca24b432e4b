"""Work that ends when a role is told to stop, and the loop that it is in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class OpenLoop(asyncio.SelectorEventLoop):
    """The loop of a process: left open, as a thread that waits for a server may still call it.

    Python would close it at the exit, when its sockets may be gone already, and print a traceback.
    """

    def __del__(self) -> None:
        """Leave it to the end of the process."""


async def until_stopped(
    work: Coroutine[Any, Any, T],
    stop: asyncio.Event,
    *,
    drain_s: float = 0.0,
    on_stop: Callable[[], None] | None = None,
) -> T | None:
    """Return what `work` returns; None where `stop` was set first and it had to be cancelled.

    It has cleaned up when this returns.

    Args:
        drain_s: how long it may go on after `stop`.
        on_stop: called once `stop` is set, to wake it.
    """
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if on_stop is not None:
            on_stop()
        if drain_s and not working.done():
            await asyncio.wait((working,), timeout=drain_s)
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
    return None if working.cancelled() else working.result()
