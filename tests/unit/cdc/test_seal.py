"""The MAC of our messages: compiled against Python's, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc import seal
from cdc.compiled import native
from cdc.seal import KEY_FIELD, SINCE_FIELD, TAIL_BYTES, UNSEALED, Seal, new_metadata, seal_of

KEYS = st.binary(min_size=1, max_size=64)


@given(st.lists(st.binary(min_size=2, max_size=600), max_size=5), KEYS)
def test_both_ways_make_the_same_mac(bodies: list[bytes], key: bytes) -> None:
    """The compiled BLAKE2b is hashlib's, at every length around its blocks of 128 bytes."""
    assert native("cdc") is not None
    compiled = Seal(key, 1).all_sealed(bodies)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "_native", None)
        assert compiled == Seal(key, 1).all_sealed(bodies)
        assert all(Seal(key, 1).fits(1, body) for body in compiled)
    assert all(Seal(key, 1).fits(1, body) for body in compiled)


@pytest.mark.parametrize("is_compiled", [True, False])
@given(body=st.binary(min_size=2, max_size=300), at=st.integers(0, 400), bit=st.integers(0, 7))
def test_no_changed_bit_fits(is_compiled: bool, body: bytes, at: int, bit: int) -> None:
    """Whatever of a message is changed, the MAC does not fit; nor does another stream's key."""
    ours = Seal(bytes(range(32)), 1)
    changed = bytearray(ours.sealed(body))
    changed[at % len(changed)] ^= 1 << bit
    with pytest.MonkeyPatch.context() as patch:
        if not is_compiled:
            patch.setattr(seal, "_native", None)
        assert not ours.fits(1, bytes(changed))
        assert not ours.fits(1, Seal(b"another", 1).sealed(body))
        assert not ours.fits(1, ours.sealed(body)[-TAIL_BYTES:])
        assert not ours.fits(1, body)


def test_messages_before_there_was_a_key_need_no_mac() -> None:
    """A stream that an older cdc began keeps what stands in it."""
    ours = Seal(b"k", since=8)

    assert ours.fits(7, b'{"v":1}')
    assert not ours.fits(8, b'{"v":1}')
    assert UNSEALED.fits(1 << 61, b'{"v":1}')


def test_a_key_is_found_in_the_metadata_beside_that_of_others() -> None:
    """What an operator wrote there does not matter; half a key is none."""
    made = {"owner": "payments", **new_metadata(9)}
    found = seal_of(made)

    assert found is not None
    assert (found.key.hex(), found.since) == (made[KEY_FIELD], 9)
    assert SINCE_FIELD not in new_metadata()
    assert new_metadata()[KEY_FIELD] != new_metadata()[KEY_FIELD]
    for none in (None, {}, {KEY_FIELD: "ab"}, {KEY_FIELD: "no hex"}, {**made, SINCE_FIELD: "x"}):
        assert seal_of(none) is None
    assert made[KEY_FIELD] not in repr(found)
