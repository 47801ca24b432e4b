"""What a run of the tests has of each test with several parameters."""

from __future__ import annotations

import itertools

import pytest

from tests.support.depth import FULL, NORMAL, VARIABLE, VARIANTS, variants

HOWS, SPREADS = ("purge", "reset", "delete"), ("1", "3")


@pytest.mark.parametrize("seed", range(20))
def test_a_normal_run_meets_each_value(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """As many combinations as the longest parameter has values; the same for the same seed."""
    monkeypatch.setenv(VARIABLE, NORMAL)
    monkeypatch.setenv(VARIANTS, str(seed))
    drawn = variants(HOWS, SPREADS)

    assert len(drawn) == 3
    assert ({how for how, _ in drawn}, {spread for _, spread in drawn}) == (set(HOWS), set(SPREADS))
    assert variants(HOWS, SPREADS) == drawn


def test_another_seed_draws_other_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over some runs all of them are met."""
    monkeypatch.setenv(VARIABLE, NORMAL)
    met = set()
    for seed in range(20):
        monkeypatch.setenv(VARIANTS, str(seed))
        met.update(variants(HOWS, SPREADS))

    assert met == set(itertools.product(HOWS, SPREADS))


def test_a_full_run_has_all_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the seed is."""
    monkeypatch.setenv(VARIABLE, FULL)

    assert set(variants(HOWS, SPREADS)) == set(itertools.product(HOWS, SPREADS))
