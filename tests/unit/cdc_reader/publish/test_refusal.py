"""Why an event or a transaction cannot be carried exactly."""

from __future__ import annotations

import pytest

from cdc_reader.binlog import event as ev
from cdc_reader.publish.refusal import refusal_of_event, refusal_of_rollback
from tests.unit.cdc_reader.publish.test_transaction import Log


@pytest.mark.parametrize(
    ("kind", "flags", "says"),
    [
        (ev.INCIDENT, 0, "events were lost here"),
        (ev.INCIDENT, ev.IGNORABLE_FLAG, "events were lost here"),
        (77, 0, "event of type 77"),
        (77, ev.IGNORABLE_FLAG, ""),
    ],
)
def test_an_event_without_a_step_is_passed_only_where_nothing_is_in_it(
    kind: int, flags: int, says: str
) -> None:
    """What the server marks as ignorable."""
    refusal = refusal_of_event(Log().event(kind, b"x", flags=flags))

    assert (says in refusal.seen) if refusal else not says
    assert refusal is None or refusal.heals_by_refresh == (kind == ev.INCIDENT)


def test_a_rollback_is_named_as_it_is_in_the_binlog() -> None:
    """Which statement takes rows back."""
    assert "holds a ROLLBACK TO after" in refusal_of_rollback("rollback to").seen
