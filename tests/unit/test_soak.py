"""What the soak takes for growth."""

from __future__ import annotations

from tests.soak.soak_checks import Sample, growth, total

CALM = Sample(rss_kib=130_000, fds=28, threads=10)


def test_a_process_that_grows_is_told() -> None:
    """The last third of the samples against the first, with a tolerance."""
    later = Sample(rss_kib=200_000, fds=60, threads=14)

    assert growth([CALM] * 9) == []
    assert growth([CALM] * 6 + [later] * 3) == [
        "rss_kib: 130000 -> 200000",
        "fds: 28 -> 60",
        "threads: 10 -> 14",
    ]


def test_one_sample_that_is_out_of_line_is_no_growth() -> None:
    """A fork at the wrong moment shows twice the memory."""
    assert growth([CALM] * 8 + [Sample(rss_kib=400_000, fds=90, threads=30)]) == []


def test_copies_count_together() -> None:
    """What two take side by side is their sum."""
    assert total([CALM, CALM]) == Sample(rss_kib=260_000, fds=56, threads=20)
