"""Sizes of the streams beside the main one."""

from __future__ import annotations

import pytest

from cdc.jetstream.stream_size import required_bytes


@pytest.mark.parametrize(
    ("subjects", "size_bytes"),
    [
        (["cdc.dead.>"], 67_108_864),
        (["$KV.cdc_default.>"], 1_048_576),
        (["mysql.>"], 0),
        (["mysql.>", "cdc.dead.>"], 0),
    ],
)
def test_dead_letters_and_leases_have_a_size(subjects: list[str], size_bytes: int) -> None:
    """That of the main stream is a setting: 0."""
    assert size_bytes == required_bytes({"subjects": subjects})
