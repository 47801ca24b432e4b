"""Sizes of the streams beside the main one, where an account asks for a size.

Pure.  Without such an account they have none: a size is taken from the account's room at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

DEAD_BYTES: Final = 64 << 20
"""Some 100,000 dead letters; a full stream stops the sink."""
LEASES_BYTES: Final = 1 << 20
"""64 of 100 bytes each, and as many sinks."""


def required_bytes(config: Mapping[str, Any]) -> int:
    """Return a stream's size where one is required; 0: a setting has to name it.

    >>> required_bytes({"name": "MYSQL_DEAD", "subjects": ["cdc.dead.>"]})
    67108864
    """
    (first, *_) = config["subjects"]
    if first.startswith("$KV."):
        return LEASES_BYTES
    return DEAD_BYTES if first.startswith("cdc.dead.") else 0
