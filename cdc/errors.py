"""Every error that a person can meet, and the exit code that each ends with.

```
CdcError                 1   base; never raised itself
├── UsageError           2   the command line or a setting is wrong (click uses 2 as well)
├── PreflightError       3   a server's configuration cannot support the guarantees
├── PositionLostError   65   the changes cannot be read without a gap or a guess
├── UnavailableError    69   a server does not answer; the only retryable one
├── InternalError       70   a bug: our own invariant does not hold
├── StreamError         73   the stream cannot be created, or differs from ours
├── PermissionDenied    77   a server refuses the login or a right
└── SettingsError       78   a file or environment variable is wrong
```

Each carries what was seen, whether the data is safe and what to do next; the
command prints the three and nothing else.  Source: sysexits(3) for the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cdc.printable import printable

REFRESH = (
    "cdc refresh   with the flags and settings of cdc run, then start cdc run again:\n"
    "it resumes from now, reads the tables again and removes keys whose rows are gone"
)
"""What heals every gap."""
FIRST = "then  "
"""Before `REFRESH`, where something else has to be done first."""


class CdcError(Exception):
    """What was seen, whether the data is safe, what to do.

    >>> print(UnavailableError("NATS at 127.0.0.1:4222 refuses the connection",
    ...       fix="start it: nats-server -js").text())
    error: NATS at 127.0.0.1:4222 refuses the connection
      fix:  start it: nats-server -js
    """

    exit_code = 1
    retryable = False

    def __init__(
        self,
        seen: str,
        *,
        safe: str = "",
        fix: str = "",
        heals_by_refresh: bool = False,
        table: str = "",
        position: str = "",
    ) -> None:
        super().__init__(seen)
        self.seen = seen
        self.safe = safe
        self.fix = fix
        self.heals_by_refresh = heals_by_refresh
        """Whether `cdc refresh` is enough to resume: of a `PositionLostError`."""
        self.table = table
        """``shop.users``: the one captured table that it concerns; empty: more than one."""
        self.position = position
        """Where in the binlog that was met, ``binlog.000012:4711``; empty: nowhere in it."""
        self.is_login = False
        """Whether another password, certificate or file with one heals it; see `logging_in`."""

    @property
    def heals_by_waiting(self) -> bool:
        """Whether a role that runs waits: for a server, or for another secret."""
        return self.retryable or self.is_login

    @property
    def login_fix(self) -> str | None:
        """What to do about a refused login, in one line of the log."""
        return " ".join(self.fix.split()) if self.is_login else None

    def text(self) -> str:
        """Return the lines that a person sees; never a value of a row or a password.

        A server's words may be in it: control characters are written out.
        """
        lines = [f"error: {self.seen}"]
        if self.safe:
            lines.append(f"  data: {self.safe}")
        if self.fix:
            lines += ["  fix:  " + self.fix.replace("\n", "\n        ")]
        return printable("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle whole, so that a child process can hand its error to its parent."""
        return (_rebuild, (type(self), self.seen), self.__dict__)


def _rebuild(kind: type[CdcError], seen: str) -> CdcError:
    return kind(seen)


class UsageError(CdcError):
    """A flag, table or column that does not exist or contradicts another."""

    exit_code = 2


class PreflightError(CdcError):
    """A server is configured so that changes would be lost or guessed."""

    exit_code = 3


class PositionLostError(CdcError):
    """Resuming would need a gap or a guess: purged binlog, DDL, undecodable event."""

    exit_code = 65


class UnavailableError(CdcError):
    """A server is down or unreachable; the caller waits and retries."""

    exit_code = 69
    retryable = True


class FencedError(UnavailableError):
    """Another writer was quicker, or the server lost a write: read again where to resume."""


class InternalError(CdcError):
    """One of our own invariants does not hold; please report it."""

    exit_code = 70


class StreamError(CdcError):
    """The stream cannot be created, or exists with a configuration that is not ours."""

    exit_code = 73


class PermissionDenied(CdcError):
    """A login, a right or a certificate is refused."""

    exit_code = 77


class SettingsError(CdcError):
    """The settings file or an environment variable cannot be used."""

    exit_code = 78


@contextmanager
def logging_in() -> Iterator[None]:
    """Mark errors of a login: a role that runs waits for another secret, which is read again.

    Raises:
        PermissionDenied, SettingsError: as they came, with `CdcError.is_login`.
    """
    try:
        yield
    except (PermissionDenied, SettingsError) as error:
        error.is_login = True
        raise


EXIT_CODES: dict[int, type[CdcError]] = {
    kind.exit_code: kind
    for kind in (
        UsageError,
        PreflightError,
        PositionLostError,
        UnavailableError,
        InternalError,
        StreamError,
        PermissionDenied,
        SettingsError,
    )
}
"""Exit code -> error class, for the parent of a role's process and for the docs' test."""
