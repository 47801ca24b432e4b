"""Which keys cdc keeps for itself."""

import pytest

from cdc import own_keys
from cdc.own_keys import is_of_cdc


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


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (own_keys.position_key("b"), "cdc:b:position"),
        (own_keys.position_key("b", 2, 4), "cdc:b:position:2"),
        (own_keys.counts_key("b"), "cdc:b:counts"),
        (own_keys.counts_key("b", 0, 2), "cdc:b:counts:0"),
        (own_keys.live_keys_key("b", 17955), "cdc:b:refresh:17955"),
        (own_keys.live_keys_key("b", 17955, 3, 4), "cdc:b:refresh:17955:3"),
        (own_keys.templates_key("b"), "cdc:b:templates"),
        (own_keys.templates_key("b", 1, 2), "cdc:b:templates:1"),
        (own_keys.error_key("b"), "cdc:b:error"),
        (own_keys.verify_key("b", "shop.users"), "cdc:b:verify:shop.users"),
    ],
)
def test_a_key_is_the_same_in_every_version(key: str, expected: str) -> None:
    """What an older cdc stored is found; only with several partitions their number is in it."""
    assert key == expected
    assert is_of_cdc(key)


def test_each_partition_has_a_position_of_its_own() -> None:
    """One partition has the key without a number."""
    assert own_keys.position_keys("b") == ("cdc:b:position",)
    assert own_keys.position_keys("b", 3) == tuple(f"cdc:b:position:{n}" for n in range(3))
