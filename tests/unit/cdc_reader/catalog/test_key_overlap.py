"""Which pairs of key templates are compared: all that could be equal, and few others."""

from __future__ import annotations

import random
import time
from itertools import combinations

from cdc.key import KeyTemplate, parse_template
from cdc_reader.catalog.key_overlap import could_be_equal, pairs_to_compare


def template(text: str) -> KeyTemplate:
    return parse_template(text, schema="s", table="t", pk=("id",))


def test_no_pair_that_could_be_equal_is_left_out() -> None:
    """Against all pairs, for templates of few letters, so that many begin or end alike."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    for _ in range(200):
        literals = ["".join(chosen.choices("ab:", k=chosen.randrange(4))) for _ in range(40)]
        keys = [
            template(f"{a}{{x}}" + chosen.choice(("", f":{{y}}{b}", b)))
            for a, b in zip(literals[::2], literals[1::2], strict=True)
        ]
        digits = {"x": "0123456789"}
        equal = {
            (one, two)
            for one, two in combinations(range(len(keys)), 2)
            if could_be_equal(keys[one], digits, keys[two], {})
        }
        compared = list(pairs_to_compare(keys))
        assert len(compared) == len(set(compared))
        assert equal <= set(compared)


def test_ten_thousand_tables_are_compared_in_a_moment() -> None:
    """Those that differ in how they begin, and those that differ only in how they end."""
    began_s = time.process_time()
    begins = [template(f"orders_of_{n}:{{id}}") for n in range(10_000)]
    ends = [template(f"{{id}}:orders_of_{n}") for n in range(10_000)]

    assert list(pairs_to_compare(begins)) == []
    assert list(pairs_to_compare(ends)) == []
    assert time.process_time() - began_s < 5.0
