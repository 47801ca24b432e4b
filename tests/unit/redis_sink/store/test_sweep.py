"""Which keys a sweep may look at: those of its table, and of nobody else."""

from __future__ import annotations

import pytest

from cdc.key import parse_template
from cdc.own_keys import is_of_cdc
from redis_sink.store.sweep import escaped, is_only_of

USERS = parse_template("{table}:{pk}", schema="s", table="users", pk=("id",))
LINES = parse_template("{table}:{pk}:x", schema="s", table="users", pk=("a", "b"))
ANY = parse_template("{pk}", schema="s", table="t", pk=("id",))


def test_a_key_that_another_table_may_have_made_is_left() -> None:
    """Where two templates begin alike, what may be the other's row stays."""
    assert is_only_of("users:1", USERS, [LINES])
    assert not is_only_of("users:1:2:x", USERS, [LINES])
    assert not is_only_of("carts:1", USERS, [])


def test_a_template_without_a_beginning_claims_nothing() -> None:
    """It could have made every key; its own rows are not swept either."""
    assert is_only_of("users:1", USERS, [ANY])


@pytest.mark.parametrize(
    "key",
    ["cdc:default:position", "cdc:b:position:12", "cdc:b:refresh:17955:3", "cdc:b:later", "cdc:1"],
)
def test_what_cdc_keeps_is_no_row(key: str) -> None:
    """Of whatever pipeline, and what a later version keeps there too."""
    assert is_of_cdc(key)


@pytest.mark.parametrize("key", ["cdc", "cdc1:7", "CDC:default:position", "users:cdc:1", ""])
def test_what_does_not_begin_with_the_prefix_may_be_a_row(key: str) -> None:
    """The prefix with its colon is ours, and nothing else."""
    assert not is_of_cdc(key)


def test_signs_of_patterns_stand_for_themselves() -> None:
    """A table called a*b does not sweep that called axb."""
    assert escaped("a*[b]?\\:") == "a\\*\\[b\\]\\?\\\\:"
