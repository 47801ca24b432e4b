"""Reasons by the ids of findings, which programs go by."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from cdc.check.reasons import REASONS

SERVERS = ("mysql", "nats", "redis")


def test_an_id_names_its_server_and_what() -> None:
    """``<server>.<what>``, in lower case with dashes."""
    assert [] == [
        name
        for name in REASONS
        if not re.fullmatch(rf"({'|'.join(SERVERS)})\.[a-z]+(-[a-z]+)*", name)
    ]


def test_ids_of_a_server_are_together() -> None:
    """MySQL, then NATS, then Redis."""
    servers = [name.partition(".")[0] for name in REASONS]

    assert list(SERVERS) == list(Counter(servers))
    assert len(SERVERS) - 1 == sum(one != two for one, two in pairwise(servers))


def test_every_reason_is_part_of_a_sentence() -> None:
    """It follows what was seen and a semicolon: never empty, no full stop, one line."""
    assert [] == [
        name for name, why in REASONS.items() if not why or why.endswith(".") or "\n" in why
    ]
