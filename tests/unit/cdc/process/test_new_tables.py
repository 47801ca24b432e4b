"""What a restart for new tables waits for, and when nothing is looked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cdc.errors import PreflightError, UnavailableError
from cdc.process import new_tables
from cdc.process.new_tables import NewTables
from cdc.settings import Settings, load
from cdc.table import Table
from cdc.telemetry import setup
from tests.support.planned import a_table

PATTERN = load({"tables": ("shop.*",), "new_tables_every_s": "5"}, {})


def made(settings: Settings = PATTERN, *, is_restart: bool) -> NewTables:
    return NewTables(settings, "both", setup(settings, "cdc"), is_restart=is_restart)


class Check:
    """A check of the servers that answers as it is told, once each."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> tuple[Table, ...]:
        if self.errors:
            raise self.errors.pop(0)
        return (a_table(),)


def test_a_restart_waits_for_servers_that_a_start_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that ran must not end because it looked for a table at the wrong moment."""
    monkeypatch.setattr(new_tables, "RETRY_S", 0)
    away = Check(UnavailableError("Redis is away"), UnavailableError("still"))

    assert asyncio.run(made(is_restart=True).captured(away)) == (a_table(),)
    with pytest.raises(UnavailableError, match="is away"):
        asyncio.run(made(is_restart=False).captured(Check(UnavailableError("Redis is away"))))


def test_what_waiting_does_not_heal_ends_a_restart_too() -> None:
    """With its own error."""
    with pytest.raises(PreflightError, match="no binlog"):
        asyncio.run(made(is_restart=True).captured(Check(PreflightError("no binlog"))))


def test_nothing_is_looked_for_without_a_pattern_or_an_interval() -> None:
    """Names mean what they mean, and looking is asked for."""
    names = load({"tables": ("shop.users",), "new_tables_every_s": "5"}, {})

    assert made(names, is_restart=False).beside() == []
    assert made(replace(PATTERN, new_tables_every_s=0), is_restart=False).beside() == []
    (watch,) = made(is_restart=False).beside()
    watch.close()
