r"""Texts of servers and of strangers, as they may be printed.

Pure.  A terminal obeys control characters: a server's error text could clear the screen, change
the title, or write a line that looks like one of ours.

>>> printable("denied\x1b[2J\r\n for user")
'denied\\x1b[2J\\r\n for user'
"""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C0 but for tab and newline, DEL, C1, and what turns the direction of writing."""


def printable(text: str) -> str:
    """Return a text in which control characters are written out; lines and tabs stay."""
    return _CONTROL.sub(lambda found: _written(found[0]), text)


def one_line(text: str) -> str:
    """Return a text as `printable`, in one line."""
    return printable(text).replace("\n", "\\n")


def _written(sign: str) -> str:
    if sign == "\r":
        return "\\r"
    return f"\\x{ord(sign):02x}" if sign < "\xa0" else f"\\u{ord(sign):04x}"
