"""Keys that chunks leave out after an XA COMMIT."""

from __future__ import annotations

from cdc_reader.snapshot.late import KEEP_S, SETTLE_S, Late


def test_keys_are_kept_for_a_time_by_table() -> None:
    """At least `KEEP_S`, at most twice that."""
    now = 100.0
    late = Late(clock=lambda: now)
    late.note("t", ("t:1", None), ("t:2", None))
    assert set(late.of("t")) == {("t:1", None), ("t:2", None)}
    assert not late.of("u")

    now += KEEP_S * 0.9
    late.note("t", ("t:3", None))
    now += KEEP_S * 0.2
    late.note("t", ("t:4", None))
    assert len(late.of("t")) == 4
    now += KEEP_S
    assert set(late.of("t")) == {("t:4", None)}
    now += 3 * KEEP_S
    assert not late.of("t")


def test_a_connection_waits_where_xa_is_used_and_partial_rows_after_each_commit() -> None:
    """Elsewhere nothing waits."""
    now = 100.0
    assert not Late(clock=lambda: now).is_settling("t", by_keys=True)
    late = Late(has_xa=True, clock=lambda: now)
    assert late.is_settling("t", by_keys=False)
    now += SETTLE_S
    assert not late.is_settling("t", by_keys=True)

    late.begin("t")
    assert late.is_settling("t", by_keys=True)
    assert not late.is_settling("t", by_keys=False)
    assert not late.is_settling("u", by_keys=True)


def test_a_table_whose_rows_were_skipped_waits_once_after_the_commits_before_it() -> None:
    """Nothing else has their values; later commits are published, and hold nothing up."""
    now = 100.0
    late = Late(clock=lambda: now)
    late.begin("t")
    late.release("t")
    late.release("u")
    assert late.is_settling("t", by_keys=False)
    assert not late.is_settling("u", by_keys=False)

    now += SETTLE_S * 0.5
    late.begin("t")
    now += SETTLE_S * 0.5
    assert not late.is_settling("t", by_keys=False)
