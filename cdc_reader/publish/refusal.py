"""Why an event, or a transaction, cannot be carried exactly. Pure."""

from __future__ import annotations

from cdc.errors import FIRST, REFRESH, PositionLostError
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.event import Event
from cdc_reader.rows.identity import Refusal


def refusal_of_event(event: Event) -> Refusal | None:
    """Return why an event cannot be passed; None: it can."""
    if event.kind == ev.INCIDENT:
        return Refusal(
            "MySQL reports: events were lost here (INCIDENT)", REFRESH, heals_by_refresh=True
        )
    if event.flags & ev.IGNORABLE_FLAG:
        return None
    return Refusal(
        f"a binlog event of type {event.kind}, which this version cannot read",
        "look for a newer version of binlog-cdc",
    )


def refusal_of_rollback(control: str) -> Refusal:
    """Return why rows that were published and are rolled back cannot be taken back.

    Args:
        control: ``rollback`` or ``rollback to``.
    """
    return Refusal(
        f"the binlog holds a {control.upper()} after changes of a captured table "
        "(a transaction over transactional and other tables)",
        "make the table InnoDB;\n" + FIRST + REFRESH,
    )


def refused(
    seen: str, fix: str, position: str, place: str, heals_by_refresh: bool, table: str
) -> PositionLostError:
    """Return the error for an event that cannot be carried.

    Args:
        position: ``binlog.000012:4711, GTID 7271…:8004``
        place: the same without the GTID.
        table: the one that it is about; empty: not one alone.
    """
    return PositionLostError(
        f"{seen} (at {position})",
        safe="all changes before it were published; nothing was skipped",
        fix=fix,
        heals_by_refresh=heals_by_refresh,
        table=table,
        position=place,
    )
