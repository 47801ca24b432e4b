"""Why an event, or a transaction, cannot be carried exactly. Pure."""

from __future__ import annotations

from cdc.errors import FIRST, REFRESH
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


def refusal_of_xa(table: str) -> Refusal:
    """Return why rows of an XA transaction cannot be published."""
    return Refusal(
        f"{table} is changed in an XA transaction, whose outcome is not known yet when its rows "
        "are in the binlog",
        "let the application commit these changes without XA;\n" + FIRST + REFRESH,
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
