"""How far a verify has come, written to Redis and read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_verify import checkpoint
from cdc_verify.checkpoint import Checkpoint, checkpoint_of, end_fields, progress_key
from cdc_verify.compare import KINDS, Difference, Tally

WISH = "t:{id} None string 100"


def stored(at: Checkpoint, rows: int, after: tuple[str, ...], chunk: int) -> dict[bytes, bytes]:
    """Return the hash as Redis gives it back."""
    fields = at.fields(rows, after, chunk)
    return {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in fields.items()}


def test_an_interrupted_verify_is_read_back() -> None:
    """What stands in Redis is where it goes on; another wish begins anew."""
    at = Checkpoint(of=WISH, seed=7, began_us=5, spent_s=1.5, walked=True)
    wrong = [Difference(b"t:1", "stale", ("1",)), Difference(b"t:\xff", "orphan")]
    at.take(wrong, with_values=False)
    at.tally.unsettled = 2
    raw = stored(at, 40, ("12", "a"), 3)

    back = checkpoint_of(raw, at.of)

    assert back is not None
    assert (back.after, back.chunk, back.seed, back.spent_s) == (("12", "a"), 3, 7, 1.5)
    assert (back.walked, back.began_us) == (True, 5)
    assert (back.tally.rows, back.tally.unsettled, back.tally.counts["stale"]) == (40, 2, 1)
    assert back.kept == at.kept == wrong
    assert back.keeps_all
    assert checkpoint_of(raw, "t:{id} None hash 100") is None
    assert checkpoint_of({}, at.of) is None


DIFFERENCES = st.builds(
    Difference, st.binary(), st.sampled_from(KINDS), st.lists(st.text(), max_size=2).map(tuple)
)


@given(st.lists(DIFFERENCES, max_size=5), st.lists(st.text(), max_size=3).map(tuple))
def test_every_difference_is_read_as_it_was_written(
    wrong: list[Difference], after: tuple[str, ...]
) -> None:
    """Keys of any bytes, rows of any texts."""
    at = Checkpoint(of=WISH, seed=1, began_us=2)
    at.take(wrong, with_values=False)
    back = checkpoint_of(stored(at, 9, after, 4), WISH)

    assert back is not None
    assert (wrong, after, at.tally.counts) == (back.kept, back.after, back.tally.counts)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"seed", b"x"),
        (b"kept", b"["),
        (b"kept", b'[{"key":1}]'),
        (b"after", b"7"),
        (b"seconds", b""),
        (b"orphan", None),
        (b"chunk", None),
    ],
)
def test_what_cannot_be_read_is_no_checkpoint(name: bytes, value: bytes | None) -> None:
    """Another version may have written it, or a person: the verify begins at the first row."""
    raw = stored(Checkpoint(of=WISH, seed=1, began_us=2), 0, (), 0)
    if value is None:
        del raw[name]
    else:
        raw[name] = value

    assert checkpoint_of(raw, WISH) is None


def test_of_very_many_differences_the_first_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All are counted."""
    monkeypatch.setattr(checkpoint, "KEPT_DIFFERENCES", 2)
    at = Checkpoint(of=WISH, seed=1, began_us=2)
    wrong = [Difference(b"%d" % n, "missing") for n in range(3)]
    at.take(wrong[:2], with_values=True)
    assert at.keeps_all
    at.take(wrong[2:], with_values=True)

    assert (wrong[:2], 3, False) == (at.kept, at.tally.counts["missing"], at.keeps_all)


@pytest.mark.parametrize("with_values", [True, False])
def test_values_are_kept_where_they_are_asked_for(with_values: bool) -> None:
    """Else no content of a row is in memory any longer."""
    at = Checkpoint(of=WISH, seed=1, began_us=2)
    at.take([Difference(b"k", "stale", ("1",), b"secret", b"old")], with_values=with_values)
    (kept,) = at.kept

    assert ((b"secret", b"old") if with_values else (None, None)) == (kept.wanted, kept.found)
    assert (b"k", "stale", ("1",)) == (kept.key, kept.kind, kept.row)


def test_how_a_verify_ended_is_a_hash_of_texts() -> None:
    """Each kind by its name, so that `cdc status` needs no JSON."""
    counts: dict[Any, int] = dict.fromkeys(KINDS, 0) | {"stale": 2}
    tally = Tally(rows=10, unsettled=1, counts=counts)

    assert {
        "ts": "99",
        "rows": "10",
        "missing": "0",
        "stale": "2",
        "orphan": "0",
        "wrong_type": "0",
        "shared": "0",
        "unsettled": "1",
        "seconds": "1.2",
        "sample": "0.5",
    } == end_fields(tally, now_us=99, seconds=1.23, sample=0.5)


def test_progress_has_a_key_of_cdcs_own() -> None:
    """Beside the one of the last end."""
    assert progress_key("p", "shop.t") == "cdc:p:verify:shop.t:progress"
