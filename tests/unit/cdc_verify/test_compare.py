"""What counts as a difference, and of which kind."""

from __future__ import annotations

import pytest

from cdc_verify.compare import WRONG_TYPE, Found, difference
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
