"""What of NATS is found from its answers, and which rights a role needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc.check.nats import check_config, check_copies, check_version, room_bytes
from cdc.check.nats_rights import Refusals, rights_needed
from cdc.jetstream.stream import StreamState, stream_config
from cdc.settings import Settings

SETTINGS = Settings()
OURS = stream_config(SETTINGS, fast_ingest=True)


@pytest.mark.parametrize(
    ("numbers", "partitions", "is_found"),
    [((2, 10), 1, False), ((2, 10), 2, True), ((2, 11), 2, False), ((3, 0), 2, False)],
)
def test_partitions_need_a_version(
    numbers: tuple[int, ...], partitions: int, is_found: bool
) -> None:
    """Filters on several subjects, and what the leases use."""
    assert bool(check_version("x", numbers, partitions)) is is_found


@pytest.mark.parametrize(
    ("changed", "flags"),
    [
        ({}, None),
        ({"allow_batched": False}, None),
        ({"discard": "old"}, "--discard=new"),
        ({"max_age": 60_000_000_000}, "--max-age=0s"),
        ({"duplicate_window": 120_000_000_000, "max_bytes": 5}, "--max-bytes=-1 --dupe-window=1s"),
        ({"deny_delete": False, "retention": "interest"}, "--retention=limits --deny-delete"),
        ({"subjects": ["mysql.update"]}, "--subjects='mysql.>'"),
        ({"storage": "memory"}, ""),
        ({"retention": "workqueue"}, ""),
        ({"storage": "memory", "discard": "old"}, ""),
    ],
)
def test_a_stream_that_differs_is_edited_where_that_is_possible(
    changed: dict[str, Any], flags: str | None
) -> None:
    """Else it takes another one; fast ingest alone is learnt by itself."""
    found = check_config(SETTINGS, OURS, OURS | changed)

    assert [finding.fix.command for finding in found] == (
        []
        if flags is None
        else [flags and f"nats -s nats://127.0.0.1:4222 stream edit MYSQL --force {flags}"]
    )


def test_copies_need_a_cluster() -> None:
    """One copy needs none."""
    assert check_copies(1, "") == check_copies(3, "east") == []
    assert [finding.id for finding in check_copies(3, "")] == ["nats.replicas"]


def stream(max_bytes: int, size_bytes: int) -> StreamState:
    return StreamState("MYSQL", "", 1, size_bytes, 1, 1, {"max_bytes": max_bytes}, "")


@pytest.mark.parametrize(
    ("limit", "used", "state", "room"),
    [
        (-1, 0, None, None),
        (-1, 0, stream(-1, 10), None),
        (1000, 400, None, 600),
        (1000, 400, stream(700, 300), 400),
        (1000, 900, stream(700, 300), 100),
        (1000, 1200, None, 0),
    ],
)
def test_room_is_the_least_of_all_limits(
    limit: int, used: int, state: StreamState | None, room: int | None
) -> None:
    """The account's and the stream's; None where there is none."""
    info = {"storage": used, "limits": {"max_storage": limit}}

    assert room_bytes(info, state, SETTINGS) == room


def test_a_stream_that_is_to_be_made_has_the_room_of_the_settings() -> None:
    """stream_max_bytes."""
    assert room_bytes({}, None, replace(SETTINGS, stream_max_bytes=500)) == 500


def test_each_role_needs_its_own_rights() -> None:
    """The reader none on dead letters, the sink none on changes, none to make what is there."""
    reader = rights_needed(SETTINGS, "reader", created=False)
    sink = rights_needed(replace(SETTINGS, partitions=2), "sink", created=True)

    assert set(reader.publish) == {
        "mysql.>",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.MYSQL",
        "$JS.API.STREAM.MSG.GET.MYSQL",
        "$JS.API.CONSUMER.CREATE.MYSQL.*",
        "$JS.API.CONSUMER.DELETE.MYSQL.*",
        "$JS.API.CONSUMER.MSG.NEXT.MYSQL.*",
        "$JS.API.STREAM.CREATE.MYSQL",
    }
    assert "cdc.dead.default" in sink.publish
    assert "$KV.cdc_default.>" in sink.publish
    assert "mysql.>" not in sink.publish
    assert not any("STREAM.CREATE" in pattern for pattern in sink.publish)
    assert set(sink.subscribe) == {"_INBOX_sink.>"}


def test_a_refusal_is_recognised_whatever_its_case() -> None:
    """nats-py hands the server's words on in lower case."""
    refusals = Refusals()
    refusals.warning("x", error='nats: permissions violation for publish to "$js.api.info"')

    assert refusals.has_denied("$JS.API.INFO")
    assert not refusals.has_denied("$JS.API.INF")
