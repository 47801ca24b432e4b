"""What is asked of a Redis that is full."""

from __future__ import annotations

from redis_sink.plan.full import KEY_BYTES, is_full, is_not_run, script_call


def test_a_call_says_what_the_commands_need() -> None:
    """Deletes and counts need nothing; each key more than its name and value."""
    commands = [
        ("MSET", "users:1", "a", "users:2", "é"),
        ("UNLINK", "users:3", "users:4"),
        ("HINCRBY", "cdc:p:counts", "shop.users update", "2"),
    ]
    call = script_call("cdc:p:position", b"before", b"after", commands)
    assert call is not None
    assert call[2:7] == ("1", "cdc:p:position", b"before", b"after", str(17 + 2 * KEY_BYTES))
    assert call[7:12] == ("5", "MSET", "users:1", "a", "users:2")
    assert call[13:17] == ("3", "UNLINK", "users:3", "users:4")


def test_commands_of_many_keys_are_several() -> None:
    """Lua takes some thousand arguments; what cannot be divided is left to a transaction."""
    keys = [f"users:{n}" for n in range(1200)]
    call = script_call("p", b"1", b"2", [("UNLINK", *keys), ("MSET", *keys)])
    assert call is not None
    assert [part for part in call if part == "UNLINK"] == ["UNLINK"] * 3
    assert next(call[n + 1] for n, part in enumerate(call[6:], 6) if part == "501") == "UNLINK"
    assert [part for part in call if str(part).startswith("users:")] == [*keys, *keys]
    assert script_call("p", b"1", b"2", [("HSET", "users:1", *map(str, range(5000)))]) is None


def test_what_a_refusal_means() -> None:
    """OOM of whatever command; a login without EVAL is as if there was no way past."""
    full = Exception("OOM command not allowed when used memory > 'maxmemory'.")
    assert is_full([b"OK", b"QUEUED", full, Exception("EXECABORT Transaction discarded")])
    assert not is_full([b"OK", Exception("NOPERM no"), Exception("EXECABORT")])
    assert is_not_run(full)
    assert is_not_run(Exception("NOPERM User sink has no permissions to run the 'eval' command"))
    assert not is_not_run(Exception("ERR value is not an integer script: abc"))
    assert not is_not_run(1)
