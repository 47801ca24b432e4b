"""The compiled hot path of a package, where it was built; without it Python code does the same.

``CDC_PURE_PYTHON=1`` leaves it out.  See docs/adr/0009-compiled-hot-path.md.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

PACKAGES = ("cdc", "cdc_reader", "redis_sink")
IS_WANTED = os.environ.get("CDC_PURE_PYTHON", "") in ("", "0")


def native(package: str | None) -> ModuleType | None:
    """Return ``cdc_reader._native`` for ``cdc_reader``; None: not built, or not wanted."""
    if not IS_WANTED:
        return None
    try:
        return importlib.import_module(f"{package}._native")
    except ModuleNotFoundError:
        return None
