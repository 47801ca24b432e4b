"""What counts as a difference, and of which kind."""

from __future__ import annotations

import pytest

from cdc_verify.checkpoint import Checkpoint, checkpoint_of
from cdc_verify.compare import WRONG_TYPE, Difference, Found, difference
from cdc_verify.expected import Content


@pytest.mark.parametrize(
    ("wanted", "found", "has_row", "kind"),
    [
        ([b"a"], b"a", True, None),
        ([b"a"], b"b", True, "stale"),
        ([b"a"], None, True, "missing"),
        ([b"a"], WRONG_TYPE, True, "wrong_type"),
        ([{b"id": b"1"}], {b"id": b"1"}, True, None),
        ([{b"id": b"1"}], {b"id": b"1", b"more": b"x"}, True, "stale"),
        ([None], None, True, None),
        ([None], b"old", True, "stale"),
        ([], None, False, None),
        ([], b"a", False, "orphan"),
        ([], WRONG_TYPE, False, "orphan"),
        ([b"a", b"b"], b"b", True, "shared"),
        ([b"a", b"a"], b"a", True, "shared"),
        ([b"a", b"b"], None, True, "shared"),
        ([None, None], None, True, "shared"),
    ],
)
def test_a_difference_has_a_kind(
    wanted: list[Content], found: Found, has_row: bool, kind: str | None
) -> None:
    """Missing, stale, of a wrong type, of no row; of several rows, whatever is there."""
    assert difference(wanted, found, has_row=has_row) == kind


def test_an_interrupted_verify_is_read_back() -> None:
    """What stands in Redis is where it goes on; another wish begins anew."""
    at = Checkpoint(of="t:{id} None string 100", seed=7, began_us=5, spent_s=1.5)
    wrong = [Difference(b"t:1", "stale", ("1",)), Difference(b"t:\xff", "orphan")]
    at.take(wrong, with_values=False)
    at.tally.unsettled = 2
    stored = at.fields(40, ("12", "a"), 3)
    raw = {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in stored.items()}

    back = checkpoint_of(raw, at.of)

    assert back is not None
    assert (back.after, back.chunk, back.seed, back.spent_s) == (("12", "a"), 3, 7, 1.5)
    assert (back.tally.rows, back.tally.unsettled, back.tally.counts["stale"]) == (40, 2, 1)
    assert back.kept == at.kept == wrong
    assert back.keeps_all
    assert checkpoint_of(raw, "t:{id} None hash 100") is None
    assert checkpoint_of({}, at.of) is None
