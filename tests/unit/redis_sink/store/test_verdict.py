"""What a refusal of Redis means, and that it never repeats what it quotes."""

from __future__ import annotations

from importlib.metadata import version

import hiredis
import pytest
from redis.asyncio.connection import Connection

from cdc.errors import CdcError, InternalError, PermissionDenied, PreflightError, UnavailableError
from redis_sink.store.verdict import LacksRight, lacking, refusal, refused_transaction

PLACE = "127.0.0.1:6379"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", UnavailableError),
        ("READONLY You can't write against a read only replica.", UnavailableError),
        ("LOADING Redis is loading the dataset in memory", UnavailableError),
        ("MASTERDOWN Link with MASTER is down", UnavailableError),
        ("MISCONF Redis is configured to save RDB snapshots", UnavailableError),
        ("NOREPLICAS Not enough good replicas to write.", UnavailableError),
        ("BUSY Redis is busy running a script.", UnavailableError),
        ("ERR max number of clients reached", UnavailableError),
        ("NOPERM User sink has no permissions", LacksRight),
        ("NOAUTH Authentication required.", PermissionDenied),
        ("WRONGPASS invalid username-password pair", PermissionDenied),
        ("MOVED 3999 127.0.0.1:6381", PreflightError),
        ("CROSSSLOT Keys in request don't hash to the same slot", PreflightError),
        ("WRONGTYPE Operation against a key", InternalError),
        ("ERR unknown command 'X', with args beginning with: 'canary'", PreflightError),
        ("", InternalError),
    ],
)
def test_each_refusal(error: str, kind: type[CdcError]) -> None:
    """What heals by itself is waited for, what needs a person stops."""
    found = refusal(PLACE, error)
    assert type(found) is kind
    assert PLACE in found.seen
    assert "canary" not in found.text()


def test_transaction_is_judged_by_its_first_refusal() -> None:
    """EXECABORT says nothing; the refusal in the queue before it does."""
    queued = ["OOM command not allowed", "EXECABORT Transaction discarded"]
    assert type(refused_transaction(PLACE, queued)) is UnavailableError


def test_a_transaction_without_a_refusal_in_its_queue_is_ours_to_explain() -> None:
    """EXECABORT alone is a case that nobody foresaw."""
    assert type(refused_transaction(PLACE, [])) is InternalError


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        # Redis 6.0, 7.0 and 8.0.
        ("NOPERM this user has no permissions to run the 'set' command", "command"),
        ("NOPERM User cdc has no permissions to run the 'set' command", "command"),
        ("NOPERM this user has no permissions to access one of the keys", "key"),
        ("NOPERM No permissions to access a key", "key"),
        ("ERR unknown command 'EVAL', with args beginning with: ", "command"),
        ("ERR Unknown subcommand or wrong number of arguments", "command"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", ""),
        ("OOM command not allowed", ""),
    ],
)
def test_a_reply_tells_which_right_a_login_lacks(reply: str, expected: str) -> None:
    """A refusal for another reason lacks nothing: the command may be run."""
    assert lacking(hiredis.ReplyError(reply)) == expected


@pytest.mark.parametrize("reply", [b"OK", 0, None, "NOPERM is a value of a row"])
def test_an_answer_lacks_nothing(reply: object) -> None:
    """Whatever text it is."""
    assert lacking(reply) == ""


def test_private_names_of_redis_py() -> None:
    """The two attributes that the writer takes over are there, in the versions allowed."""
    assert 5 <= int(version("redis").split(".")[0]) < 9
    connection = Connection(protocol=2)
    assert (connection._reader, connection._writer) == (None, None)
    assert not connection.is_connected


def test_hiredis_packs_and_reads() -> None:
    """What the writer relies on: str and bytes are packed, False means not complete yet."""
    assert hiredis.pack_command(("SET", "\u00e9", b"\x00")) == (  # type: ignore[arg-type]
        b"*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$1\r\n\x00\r\n"
    )
    reader = hiredis.Reader()
    assert reader.gets() is False
    reader.feed(b":0\r\n$-1\r\n*-1\r\n-OOM x\r\n")
    assert [reader.gets(), reader.gets(), reader.gets()] == [0, None, None]
    assert isinstance(reader.gets(), hiredis.ReplyError)
