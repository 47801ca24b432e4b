"""The text of a ``cdc.toml`` that captures what an inventory found.

Pure.  No password is in it: it names the variable that gives it.  Names of tables are quoted as
TOML and as patterns need it; in comments every control character is written out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from cdc.init.proposal import Inventory, Proposal
from cdc.printable import printable
from cdc.settings import SERVERS, SPECS, Settings
from cdc.table_pattern import escaped_name
from cdc.url import Url

_NOT_PLAIN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Beyond what JSON escapes: DEL, which TOML refuses, and what a terminal would obey."""


def settings_file(inventory: Inventory, settings: Settings) -> str:
    """Return the file's text.

    Args:
        settings: those that `cdc init` was given; what is not at its default is written.
    """
    return "\n".join(_lines(inventory, settings)) + "\n"


def _lines(inventory: Inventory, settings: Settings) -> Iterator[str]:
    yield from _comment(
        f"Written by cdc init from {inventory.server}.",
        f"{inventory.counted()}.",
        "Next: cdc check, then cdc run.  Every setting: cdc settings, docs/configuration.md.",
    )
    yield ""
    yield from _servers(settings)
    yield ""
    yield from _comment(
        "The rights of the login; cdc check prints what is missing.  As an administrator:",
        *(f"  {grant}" for grant in inventory.grants),
    )
    if captured := inventory.of("captured"):
        yield from _heading(
            "The captured tables, a section for each: docs/configuration.md#tables.",
            "A table that is created later is captured once it is named here, or by a pattern.",
        )
        for one in captured:
            yield ""
            yield from _comment(one.about, *one.why)
            yield from _section(one)
    if keyless := inventory.of("needs key"):
        yield from _heading(
            "Tables whose rows cannot be told apart.  Give each a key, or take its lines out of",
            "their comment once the columns in its key identify a row.",
        )
        for one in keyless:
            yield "#"
            yield from _comment(*one.why, *one.fix)
            yield from (f"#{line}" for line in _section(one))
    if excluded := inventory.of("excluded"):
        yield from _heading("Not captured, and why.")
        for one in excluded:
            yield from _comment(*(f"- {why}" for why in one.why), *(f"  {f}" for f in one.fix))


def _servers(settings: Settings) -> Iterator[str]:
    hidden = [name for name in SERVERS if _is_hidden(getattr(settings, name))]
    if hidden:
        yield from _comment(
            "Passwords are not in this file.  Give each in a file of its own, or in the",
            "environment (docs/configuration.md#servers-and-passwords):",
            *(f"  export {_secret_variable(name, settings)}" for name in hidden),
        )
    for name, spec in SPECS.items():
        value = getattr(settings, name)
        if name in SERVERS:
            value = _without_secret(value)
        if value != spec.default or name == "mysql":
            yield f"{name} = {_toml(value)}"
        elif name in SERVERS:
            yield f"#{name} = {_toml(value)}"


def _is_hidden(url: Url) -> bool:
    # A program that prints it is a setting of the file.
    return bool(url.secret.file if url.secret else url.secrets)


def _secret_variable(name: str, settings: Settings) -> str:
    url = getattr(settings, name)
    if url.secret:
        return f"{url.secret.setting}={url.secret.file}"
    if url.password:
        return f"CDC_{name.upper()}_PASSWORD_FILE=/run/secrets/{name}"
    return f"CDC_{name.upper()}_URL_FILE=/run/secrets/{name}_url"


def _without_secret(url: Url) -> Url:
    # A token of NATS is in the place of the user.
    is_token = url.scheme in ("nats", "tls") and not (url.password or url.secret)
    return replace(url, password="", user="" if is_token else url.user, secret=None)


def _heading(*lines: str) -> Iterator[str]:
    yield ""
    yield "# " + "-" * 70
    yield from _comment(*lines)


def _section(one: Proposal) -> Iterator[str]:
    yield f"[tables.{_toml(escaped_name(one.table))}]"
    for name, value in one.settings:
        yield f"{name} = {_toml(value)}"


def _comment(*texts: str) -> Iterator[str]:
    for text in filter(None, texts):
        for line in printable(text).split("\n"):
            yield f"# {line}".rstrip()


def _toml(value: Any) -> str:
    r"""Return a value as TOML writes it.

    >>> _toml('a"b'), _toml(("x", "y")), _toml(True), _toml(5)
    ('"a\\"b"', '["x", "y"]', 'true', '5')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str | Url):
        # Its secret is gone: a user of NATS who is left alone is no token that has to be hidden.
        text = value.reveal() if isinstance(value, Url) else value
        quoted = json.dumps(text, ensure_ascii=False)
        return _NOT_PLAIN.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    items: Iterable[Any] = value
    return f"[{', '.join(map(_toml, items))}]"
