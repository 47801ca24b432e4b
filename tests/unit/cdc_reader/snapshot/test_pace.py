"""How large chunks are, and when they may begin."""

from __future__ import annotations

from cdc_reader.snapshot.pace import FIRST_ROWS, LEAST_ROWS, TARGET_BYTES, Pace


def after(pace: Pace, *, row_bytes: int, row_us: float, chunks: int = 30) -> int:
    """Read some chunks of such rows; return how many rows the next one has."""
    for _ in range(chunks):
        rows = pace.chunk_rows()
        pace.took(rows, rows * row_bytes, rows * row_us / 1e6)
    return pace.chunk_rows()


def test_chunks_grow_towards_the_time_that_one_may_take() -> None:
    """Between half and one and a half times of it they stay as they are."""
    rows = after(Pace(max_rows=1_000_000, target_s=0.05), row_bytes=10, row_us=10)

    assert 2500 <= rows <= 7500


def test_chunks_shrink_where_rows_take_longer() -> None:
    """The source is busy, or rows lie far apart; and never below what a statement costs itself."""
    pace = Pace(max_rows=1_000_000)
    after(pace, row_bytes=10, row_us=5)

    assert 250 <= after(pace, row_bytes=10, row_us=100) <= 750
    assert after(pace, row_bytes=10, row_us=1e6) == LEAST_ROWS


def test_large_rows_are_read_few_at_a_time() -> None:
    """Memory limits a chunk even when there is time: down to one row."""
    pace = Pace(max_rows=1_000_000)

    assert after(pace, row_bytes=10_000, row_us=1) <= 1.5 * TARGET_BYTES / 10_000
    assert after(pace, row_bytes=16_000_000, row_us=1) == 1
    pace.begin_table()
    assert pace.chunk_rows() == FIRST_ROWS


def test_a_short_rest_says_nothing_of_the_next_chunk() -> None:
    """Three rows at the end of a range are quick with rows of any size."""
    pace = Pace(max_rows=1_000_000)
    for _ in range(10):
        pace.took(3, 300, 0.0001)

    assert pace.chunk_rows() == FIRST_ROWS


def test_the_limit_of_the_settings_holds() -> None:
    """Also below the first chunk's size."""
    assert after(Pace(max_rows=2), row_bytes=1, row_us=1) == 2


def test_a_rate_is_kept_on_average() -> None:
    """In parts of a tenth of a second, however large chunks would be without a rate."""
    now_s = [0.0]
    pace = Pace(max_rows=5000, rows_per_s=1000, clock=lambda: now_s[0])
    read = 0
    while now_s[0] < 10:
        if pace.is_due("t"):
            assert pace.chunk_rows() <= 100
            read += pace.chunk_rows()
            pace.took(pace.chunk_rows(), 1000, 0.001)
        now_s[0] += 0.007

    assert 9_000 <= read <= 10_200


def test_a_pause_holds_until_its_reason_is_gone() -> None:
    """And the reason can be told."""
    why = ["the sink is behind"]
    pace = Pace(max_rows=10, held_back=lambda _: why[0])

    assert (pace.is_due("t"), pace.paused) == (False, "the sink is behind")
    why[0] = ""
    assert (pace.is_due("t"), pace.paused) == (True, "")
