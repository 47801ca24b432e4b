"""How sinks divide the partitions: each decides alone, and together all are followed."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from redis_sink.partitions.share import candidates, fair_share, surplus


@given(st.integers(1, 64), st.integers(1, 70))
def test_the_shares_of_all_are_enough_for_all(partitions: int, live: int) -> None:
    """No partition is left over, and nobody has two more than needed."""
    share = fair_share(partitions, live)

    assert share * live >= partitions
    assert (share - 1) * live < partitions


@given(st.sets(st.integers(0, 9)), st.integers(0, 10))
def test_only_what_is_too_much_is_given_up(owned: set[int], share: int) -> None:
    """As much as is over the share, of what is owned."""
    given_up = surplus(owned, share)

    assert set(given_up) <= owned
    assert len(owned) - len(given_up) == min(len(owned), share)


@given(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)), st.integers(0, 7))
def test_free_partitions_are_tried_first(owned: set[int], held: set[int], at: int) -> None:
    """All that are not owned, once."""
    tried = candidates(owned, 8, held, at)

    assert sorted(tried) == sorted(set(range(8)) - owned)
    assert [n in held for n in tried] == sorted(n in held for n in tried)


@given(st.integers(1, 12), st.lists(st.booleans(), min_size=1, max_size=12), st.integers())
def test_sinks_that_come_and_go_end_with_all_followed(
    partitions: int, comings: list[bool], seed: int
) -> None:
    """A model: whoever looks next acts by the rules; soon every partition has one owner."""
    chance = random.Random(seed)
    sinks: list[set[int]] = [set()]
    for comes in comings:
        if comes:
            sinks.append(set())
        elif len(sinks) > 1:
            sinks.pop(chance.randrange(len(sinks)))
    for _ in range(4 * len(sinks)):
        for mine in chance.sample(sinks, len(sinks)):
            share = fair_share(partitions, len(sinks))
            mine -= set(surplus(mine, share))
            held = set[int]().union(*sinks)
            for n in candidates(mine, partitions, held, chance.randrange(partitions)):
                if len(mine) < share and n not in held:
                    mine.add(n)

    assert sorted(n for mine in sinks for n in mine) == list(range(partitions))
