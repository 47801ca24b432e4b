"""One setting: its help, unit and limits, and how a text or a TOML value becomes it.

Pure, but for the file that a variable names.  `cdc.settings` lists the settings; this module
reads and checks one of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import shlex
import stat
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdc.errors import SettingsError, UsageError
from cdc.url import Url, parse_url, redact

Values = dict[str, tuple[str, Any]]
"""Name -> where it was set, and its value: ``{"key": ("--key", "user:{id}")}``."""


class Program(tuple[str, ...]):
    """A program and its arguments, which no shell sees: ``Program(("pass", "show", "cdc"))``.

    >>> print(Program(("print-token", "--for", "the sink")))
    print-token --for 'the sink'
    """

    __slots__ = ()

    def __str__(self) -> str:
        return shlex.join(self)

    @classmethod
    def parse(cls, value: object) -> Program:
        """Return the command that a text or a list of texts means; quotes are as in a shell.

        Raises:
            ValueError: it is neither, or a quote is not closed.
        """
        if isinstance(value, str):
            try:
                return cls(shlex.split(value))
            except ValueError:
                raise ValueError("has a quote that is not closed") from None
        if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
            return cls(value)
        raise ValueError('must be a text or a list of texts, such as ["print-token", "--for=cdc"]')


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    pattern: str = "",
    schemes: tuple[str, ...] = (),
    off_help: str = "",
) -> Any:
    """Return a dataclass field with all that help, docs and checks need.

    Args:
        unit: ``s``, ``bytes``, ``rows``, ``messages``; empty for a name or a choice.
        low, high: limits, both allowed.
        pattern: a regular expression for the whole text.
        schemes: of a URL.
        off_help: of a switch that is on by default, the help of its ``--no-`` flag.
    """
    if schemes:
        default = parse_url(default, schemes)
    about = {
        "help": help,
        "unit": unit,
        "low": low,
        "high": high,
        "pattern": pattern,
        "schemes": schemes,
        "off_help": off_help,
    }
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All about one setting, read from its dataclass field."""

    name: str
    kind: Any
    """``int``, ``float``, ``bool``, ``str``, `Url`, `Program`, or a tuple of the texts allowed."""
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    pattern: str
    schemes: tuple[str, ...]
    off_help: str

    @property
    def env(self) -> str:
        """``CDC_FLUSH_MAX_BYTES``; a server's URL is ``CDC_MYSQL_URL``."""
        return f"CDC_{self.name.upper()}" + ("_URL" if self.kind is Url else "")

    @property
    def flag(self) -> str:
        """``--flush-max-bytes``; a switch that is on by default is ``--no-snapshot``."""
        dashed = self.name.replace("_", "-")
        return f"--no-{dashed}" if self.kind is bool and self.default else f"--{dashed}"

    @property
    def flag_help(self) -> str:
        """The help of the flag, which of ``--no-snapshot`` is "Skip the initial snapshot."."""
        return self.off_help or self.help

    @property
    def default_text(self) -> str:
        """The default as ``cdc.toml`` writes it, such as ``"nats://127.0.0.1:4222"``."""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        quoted = isinstance(self.default, str | Url | Program)
        return f'"{self.default}"' if quoted else str(self.default)

    @property
    def limits_text(self) -> str:
        """``1 to 5``, ``at least 0``; empty: none."""
        if self.low is None:
            return ""
        return f"at least {self.low}" if self.high is None else f"{self.low} to {self.high}"

    def from_text(self, text: str) -> Any:
        """Return the value of an environment variable's or a flag's text.

        Raises:
            ValueError: what is wrong, never quoting a URL.
        """
        value: Any = text.strip()
        if self.kind is bool:
            words = {"true": True, "1": True, "false": False, "0": False}
            if value.lower() not in words:
                raise ValueError("must be true or false")
            value = words[value.lower()]
        elif self.kind in (int, float):
            try:
                value = self.kind(value.replace("_", ""))
            except ValueError:
                raise ValueError(f"must be {_a(self.kind)}, not {text!r}") from None
        return self.checked(value)

    def checked(self, value: Any) -> Any:
        """Return the value in the setting's own type.

        Raises:
            ValueError: a wrong type, choice, limit or form.
        """
        if self.kind is Url:
            if not isinstance(value, str):
                raise ValueError("must be a URL in quotes")
            return parse_url(value, self.schemes)
        if self.kind is Program:
            return Program.parse(value)
        if isinstance(self.kind, tuple):
            if value not in self.kind:
                hint = nearest(value, self.kind) if isinstance(value, str) else ""
                raise ValueError(f"must be {' or '.join(self.kind)}, not {value!r}{hint}")
            return value
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind:
            raise ValueError(f"must be {_a(self.kind)}, not {value!r}")
        return self._limited(value)

    def _limited(self, value: Any) -> Any:
        unit = f" {self.unit}" if self.unit else ""
        if self.low is not None and not value >= self.low:
            raise ValueError(f"must be at least {self.low:g}{unit}, not {value!r}")
        if self.high is not None and not value <= self.high:
            raise ValueError(f"must be at most {self.high:g}{unit}, not {value!r}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ValueError(f"must be of the form {self.pattern}, not {value!r}")
        return value


@dataclass(slots=True)
class Problems:
    """What is wrong, collected from all sources before any is reported."""

    flags: list[str]
    others: list[str]

    def add(self, where: str, what: str) -> None:
        """Note a problem of one place, ``add("--key", "must be …")``."""
        (self.flags if where.startswith("--") else self.others).append(redact(f"{where} {what}"))

    def raise_if_any(self) -> None:
        """Report all of them.

        Raises:
            UsageError: flags alone are wrong.
            SettingsError: the file or the environment is wrong too.
        """
        found = self.flags + self.others
        if not found:
            return
        kind = SettingsError if self.others else UsageError
        head = found[0] if len(found) == 1 else f"{len(found)} settings cannot be used"
        listed = "" if len(found) == 1 else "".join(f"\n  - {line}" for line in found)
        raise kind(
            head + listed,
            safe="nothing was connected to, nothing written",
            fix="all settings: cdc settings",
        )


def specs_of(kind: type) -> dict[str, Spec]:
    """Return the settings of a dataclass whose fields were made by `setting`."""
    hints = typing.get_type_hints(kind)
    return {
        field.name: Spec(
            name=field.name,
            kind=_kind(hints[field.name]),
            default=field.default,
            **field.metadata,
        )
        for field in dataclasses.fields(kind)
        if "help" in field.metadata
    }


def nearest(name: str, known: Iterable[str] | Mapping[str, object]) -> str:
    """Return ``"; did you mean 'tables'?"``, or nothing when no name is near.

    >>> nearest("tabels", ["tables", "stream"])
    "; did you mean 'tables'?"
    """
    by_lower = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name.lower(), by_lower, 1, 0.6)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def _kind(hint: Any) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return typing.get_args(hint)[0]
    return hint


def _a(kind: type) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return names[kind]


def text_or_file(env: Mapping[str, str], variable: str, problems: Problems) -> str | None:
    """Return a variable's text or that of the file named by its ``_FILE`` twin."""
    twin = f"{variable}_FILE"
    if twin not in env:
        return env.get(variable)
    if variable in env:
        problems.add(twin, f"and {variable} are both set; keep one")
        return None
    try:
        return Path(env[twin]).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        problems.add(twin, f"names a file that cannot be read: {env[twin]}: {reason}")
        return None


def file_to_read_again(env: Mapping[str, str], variable: str) -> str:
    """Return the path of the twin; empty: there is none, or it is a pipe that is read once."""
    path = env.get(f"{variable}_FILE", "")
    return path if path and Path(path).is_file() else ""


def refuse_of_others(path: Path, *, is_found: bool) -> None:
    """Refuse a settings file that names a program where another user could have named it.

    Args:
        is_found: it is in the working folder, and nothing names it; it has to be ours or root's.

    Raises:
        ValueError: others may write to it, or it is another user's.
        OSError: it cannot be looked at.
    """
    about = path.stat()
    if about.st_mode & stat.S_IWOTH:
        raise ValueError(f"names a program, and others may write to the file: chmod o-w {path}")
    if is_found and about.st_uid not in (0, os.geteuid()):
        raise ValueError(
            "names a program, and the file belongs to another user: if it is yours, name it by "
            f"its whole path: --config {path.absolute()}"
        )
