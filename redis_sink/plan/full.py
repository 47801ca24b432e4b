"""A batch for a Redis that is full: written where it needs no more room than it gives back.

Pure.  At ``maxmemory`` Redis refuses the SET of the position, so that not even deletes would be
applied.  A script may continue to write once it has written something: that is the way out, and
all of it is applied or nothing, as in a transaction.  Source: redis/src/script.c `scriptVerifyOOM`,
6.2 scripting.c `luaRedisGenericCommand`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from redis_sink.plan.batch import Command

TAKES_NO_ROOM = frozenset({"UNLINK", "HDEL", "SREM", "ZREM", "EXPIRE", "PEXPIRE", "PERSIST"})
KEY_BYTES = 48
"""What Redis needs for a key beside its name and value, at least: measured with 8.0, 48 to 100."""
_AT_ONCE = 500
_MOST_PARTS = 4000
"""Lua takes 8,000 arguments in one call."""

NOT_AS_LEFT, TOO_LARGE, APPLIED = 0, 1, 2

SCRIPT = f"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {NOT_AS_LEFT} end
local room, at, calls = -tonumber(ARGV[3]), 4, {{}}
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  local name = ARGV[at + 1]
  calls[#calls + 1] = {{at + 1, last}}
  if name == 'UNLINK' or name == 'MSET' or name == 'SET' then
    for n = at + 2, name == 'SET' and at + 2 or last, name == 'MSET' and 2 or 1 do
      local used = redis.pcall('MEMORY', 'USAGE', ARGV[n])
      if type(used) == 'number' then room = room + used end
    end
  end
  at = last + 1
end
if room < 0 then return {TOO_LARGE} end
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
for _, call in ipairs(calls) do redis.call(unpack(ARGV, call[1], call[2])) end
redis.call('SET', KEYS[1], ARGV[2])
return {APPLIED}
"""
"""Position key; position as it was left, the next one, what the commands need in bytes, and each
command after the number of its parts.  The first write takes no room, so the rest is allowed; it
is the position's, which no login lacks, and is restored before anything else is done."""


def script_call(
    key: str, before: bytes, after: bytes, commands: Iterable[Command]
) -> Command | None:
    """Return the EVAL that does what a transaction would have done; None: it is too large for one.

    >>> script_call("p", b"1", b"2", [("UNLINK", "users:7")])[2:]
    ('1', 'p', b'1', b'2', '0', '2', 'UNLINK', 'users:7')
    """
    whole = [part for command in commands for part in _parts(command)]
    if max(map(len, whole), default=0) > _MOST_PARTS:
        return None
    needs = sum(_needs_bytes(command) for command in whole)
    sized = [part for command in whole for part in (str(len(command)), *command)]
    return ("EVAL", SCRIPT, "1", key, before, after, str(needs), *sized)


def _parts(command: Command) -> list[Command]:
    """Return a command of many keys as several."""
    name, *rest = command
    if name not in ("MSET", "UNLINK") or len(rest) <= _AT_ONCE:
        return [command]
    return [(name, *rest[at : at + _AT_ONCE]) for at in range(0, len(rest), _AT_ONCE)]


def _needs_bytes(command: Command) -> int:
    name, *rest = command
    if name in TAKES_NO_ROOM or name == "HINCRBY":  # counts: a few numbers, there already
        return 0
    keys = len(rest) // 2 if name == "MSET" else 1
    return sum(map(_size_bytes, rest)) + KEY_BYTES * keys


def _size_bytes(part: str | bytes) -> int:
    return len(part.encode() if isinstance(part, str) else part)


def is_full(replies: Sequence[object]) -> bool:
    """Return whether a transaction was refused because Redis is full."""
    return any(isinstance(reply, Exception) and str(reply).startswith("OOM") for reply in replies)


def is_not_run(reply: object) -> bool:
    """Return whether the script was refused before it wrote: no EVAL in Redis or for this login."""
    return isinstance(reply, Exception) and str(reply).startswith(
        ("OOM", "NOPERM", "ERR unknown command")
    )
