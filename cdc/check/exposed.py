"""Passwords that others on this machine can read: in a command line, or in a file open to them."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cdc.settings import SPECS, Settings

_OTHERS = stat.S_IRGRP | stat.S_IROTH
_SERVERS = ("mysql", "nats", "redis")


def exposed(
    settings: Settings, flags: Mapping[str, Any], file: Path | None
) -> Iterator[tuple[str, str]]:
    """Yield what is open to others, and what to do: never with a part of it.

    Args:
        flags: those given.
        file: the settings file that is read; None: there is none.
    """
    for server in _SERVERS:
        url = getattr(settings, server)
        # The password may have come apart from the URL.
        given = flags.get(server)
        if given is not None and SPECS[server].checked(given).secrets:
            yield (
                f"--{server} gives a password, which every user of this machine can read",
                f"give it in CDC_{server.upper()}_URL or in CDC_{server.upper()}_PASSWORD_FILE",
            )
        for name in ("creds", "ssl-key"):
            path = url.option(name)
            if path and _is_open(Path(path), stat.S_IROTH):
                yield f"{name}={path} can be read by others", f"chmod o= {path}"
    if file is not None and _is_open(file, _OTHERS) and _holds_password(file):
        yield f"{file} holds a password, and others can read it", f"chmod go= {file}"


def _is_open(path: Path, bits: int) -> bool:
    try:
        return bool(path.stat().st_mode & bits)
    except OSError:
        return False


def _holds_password(path: Path) -> bool:
    import tomllib

    try:
        content = tomllib.loads(path.read_text("utf-8"))
        return any(
            SPECS[name].checked(content[name]).secrets for name in _SERVERS if name in content
        )
    except (OSError, ValueError):
        return False
