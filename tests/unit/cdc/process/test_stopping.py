"""Work ends when it is told to stop: at once, or after what is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from cdc.process.stopping import until_stopped


def test_work_that_ends_first_returns_its_result_or_its_error() -> None:
    """Nothing is cancelled, and an error is not lost."""

    async def seven() -> int:
        return 7

    async def fails() -> int:
        raise LookupError("gone")

    assert 7 == asyncio.run(_told(seven(), stopped=False))
    with pytest.raises(LookupError, match="gone"):
        asyncio.run(_told(fails(), stopped=False))


def test_work_without_time_to_drain_is_cancelled_and_cleaned_up() -> None:
    """It has left its `finally` when None is returned."""
    left: list[str] = []

    async def hangs() -> int:
        try:
            return await asyncio.Future()
        finally:
            await asyncio.sleep(0)
            left.append("closed")

    assert asyncio.run(_told(hangs(), stopped=True)) is None
    assert ["closed"] == left


def test_work_that_is_woken_finishes_what_is_in_flight() -> None:
    """Within the time to drain its result counts."""
    woken = asyncio.Event()

    async def drains() -> str:
        await woken.wait()
        return "stored"

    async def told() -> str | None:
        stop = asyncio.Event()
        stop.set()
        return await until_stopped(drains(), stop, drain_s=10.0, on_stop=woken.set)

    assert "stored" == asyncio.run(told())


async def _told(work: Coroutine[Any, Any, int], *, stopped: bool) -> int | None:
    stop = asyncio.Event()
    if stopped:
        stop.set()
    return await until_stopped(work, stop)
