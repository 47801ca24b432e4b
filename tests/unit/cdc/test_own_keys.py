"""Which keys cdc keeps for itself."""

import pytest

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
