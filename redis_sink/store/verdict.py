"""What a refusal of Redis means: wait, ask for a right, or stop.

Pure.  Only an error's first word is ever repeated: the rest can hold arguments, that
is values of rows.  Source: redis/src/server.c `createSharedObjects`, acl.c, networking.c.
"""

from __future__ import annotations

from cdc.errors import CdcError, InternalError, PermissionDenied, PreflightError, UnavailableError

_WAIT = {
    "OOM": (
        "its memory is full",
        "raise maxmemory, or delete rows in MySQL: what needs no more room than it gives\n"
        "back is applied (the login needs +eval and +memory|usage for it)",
    ),
    "READONLY": ("it is a replica and takes no writes", "point the Redis URL at the master"),
    "LOADING": ("it is loading its data", ""),
    "MASTERDOWN": ("it is a replica without its master", ""),
    "MISCONF": ("it cannot save to disk and refuses writes", "see the log of Redis: disk full?"),
    "NOREPLICAS": ("too few replicas are connected (min-replicas-to-write)", ""),
    "BUSY": ("a script blocks it", "redis-cli SCRIPT KILL"),
    "CLUSTERDOWN": ("the cluster is down", ""),
    "TRYAGAIN": ("it is moving keys", ""),
}
_DENIED = {
    "NOPERM": "this login lacks a right (a command or a key pattern of its ACL)",
    "NOAUTH": "it wants a login",
    "WRONGPASS": "it refuses the login",
}
_OF_THE_LOGIN = ("NOAUTH", "WRONGPASS")
_UNKNOWN = ("ERR unknown command", "ERR unknown subcommand", "ERR Unknown subcommand")
_CLUSTER = ("MOVED", "ASK", "CROSSSLOT")


class LacksRight(PermissionDenied):
    """The login is taken, and its ACL lacks a command or a key pattern."""


def refusal(address: str, error: str, command: str = "", *, login_fix: str = "") -> CdcError:
    """Return what an error reply of Redis amounts to.

    Args:
        login_fix: what to look at where the login is refused: `Url.login_fix`.

    >>> type(refusal("127.0.0.1:6379", "OOM command not allowed when …")).__name__
    'UnavailableError'
    """
    code = error.split(" ", 1)[0]
    where = f"Redis at {address}"
    if code in _WAIT:
        reason, fix = _WAIT[code]
        return UnavailableError(f"{where} refuses to write: {reason} ({code})", fix=fix)
    if "max number of clients" in error:
        return UnavailableError(f"{where} has no room for another client (maxclients)")
    if code in _DENIED:
        is_login = code in _OF_THE_LOGIN
        kind = PermissionDenied if is_login else LacksRight
        denied = kind(
            f"{where}: {_DENIED[code]} ({code}{' ' + command if command else ''})",
            fix=login_fix
            if is_login and login_fix
            else "check user and password in the Redis URL, and the ACL: +multi +exec +watch\n"
            "+get +set +mset +unlink +hset +sadd +smismember +role +info +scan\n"
            "on the tables' keys and on cdc:PIPELINE:*",
        )
        denied.is_login = is_login
        return denied
    if code in _CLUSTER:
        return PreflightError(
            f"{where} is part of a cluster ({code})",
            safe="nothing was written",
            fix="use a Redis that is not a cluster: data and position need one transaction",
        )
    if error.startswith(_UNKNOWN):
        return PreflightError(
            f"{where} has no {command or 'command that cdc needs'}",
            safe="nothing was written",
            fix="use Redis 6.2 or newer, where the command was not renamed or left out:\n"
            "rename-command in redis.conf, or the list of commands of the managed service",
        )
    return InternalError(
        f"{where} refuses {command or 'a command'} ({code})",
        safe="the position was not moved past it",
        fix="please report it with the version of Redis",
    )


def lacking(reply: object) -> str:
    """Return what a login lacks by a reply: ``command``, ``key``, or nothing.

    A command that the server does not know lacks as well: managed ones leave some out, and so
    does ``rename-command NAME ""``.

    Source: redis/src/acl.c getAclErrorMessage; 6.0 to 8.0 print "access" for keys only.
    """
    text = str(reply)
    if not isinstance(reply, Exception):
        return ""
    if text.startswith(_UNKNOWN):
        return "command"
    if not text.startswith("NOPERM"):
        return ""
    return "key" if " access " in text else "command"


def refused_transaction(address: str, queued: list[str]) -> CdcError:
    """Return why EXEC was aborted (nothing is applied): the first refusal in its queue."""
    return refusal(address, queued[0] if queued else "EXECABORT", "in MULTI")
