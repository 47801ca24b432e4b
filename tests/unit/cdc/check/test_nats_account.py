"""What of an account's limits the streams do not fit in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc.check.nats_account import check_account
from cdc.settings import Settings

MIB = 1 << 20
SETTINGS = replace(Settings(), stream_max_bytes=100 * MIB)
ALL = ("MYSQL", "MYSQL_DEAD", "KV_cdc_default")


def advices(
    account: dict[str, Any], missing: tuple[str, ...] = ALL, settings: Settings = SETTINGS
) -> list[str]:
    """Return the fixes of what was found."""
    found = list(check_account(account, settings, missing))
    assert {(True, "nats.account", 73)} >= {(f.stops, f.id, f.kind.exit_code) for f in found}
    return [finding.fix.advice for finding in found]


def limits(**limits: Any) -> dict[str, Any]:
    """Return an account with these limits."""
    return {"limits": limits}


@pytest.mark.parametrize(
    ("account", "is_found"),
    [
        ({}, False),
        (limits(max_storage=-1, max_streams=-1), False),
        (limits(storage_max_stream_bytes=100 * MIB), False),
        (limits(storage_max_stream_bytes=100 * MIB - 1), True),
        (limits(storage_max_stream_bytes=0), False),
        (limits(max_storage=100 * MIB), False),
        (limits(max_storage=100 * MIB - 1), True),
        (limits(max_storage=0), True),
        (limits(max_storage=165 * MIB, max_bytes_required=True), False),
        (limits(max_storage=165 * MIB - 1, max_bytes_required=True), True),
        (limits(max_storage=200 * MIB) | {"reserved_storage": 100 * MIB}, False),
        (limits(max_storage=200 * MIB) | {"reserved_storage": 100 * MIB + 1}, True),
        (limits(max_streams=3), False),
        (limits(max_streams=3) | {"streams": 1}, True),
        (limits(max_streams=0), True),
    ],
)
def test_the_streams_fit_to_the_last_byte(account: dict[str, Any], is_found: bool) -> None:
    """Dead letters (64 MiB) and leases (1 MiB) take room only where each stream has a size."""
    assert is_found == bool(advices(account))


def test_streams_that_exist_need_no_room() -> None:
    """Their room is taken already, and they are counted already."""
    full = limits(max_storage=0, max_streams=0, storage_max_stream_bytes=1)

    assert [] == advices(full, ())
    assert [] == advices(limits(max_streams=4) | {"streams": 3}, ("KV_cdc_default",))


@pytest.mark.parametrize(
    ("account", "size"),
    [
        (limits(), 1 << 30),
        (limits(storage_max_stream_bytes=10 * MIB), 10 * MIB),
        (limits(max_storage=75 * MIB), 10 * MIB),
        (limits(max_storage=75 * MIB, storage_max_stream_bytes=20 * MIB), 10 * MIB),
        (limits(max_storage=1), 1 << 30),
    ],
)
def test_a_size_that_is_required_is_named(account: dict[str, Any], size: int) -> None:
    """The largest that the account has room for, beside the other streams."""
    account["limits"]["max_bytes_required"] = True
    (advice,) = advices(account, settings=replace(SETTINGS, stream_max_bytes=0))

    assert f"--stream-max-bytes {size}" == advice


def test_the_limits_are_those_of_the_number_of_copies() -> None:
    """Where an account counts by copies, those of others do not matter."""
    tiers = {"tiers": {"R1": limits(max_storage=1), "R3": limits(max_storage=-1)}}

    assert bool(advices(tiers))
    assert [] == advices(tiers, settings=replace(SETTINGS, stream_replicas=3))


def test_too_large_and_too_many_are_two_findings() -> None:
    """Both have to be changed."""
    assert 2 == len(advices(limits(max_storage=0, max_streams=0)))
