"""The form that settings give a table's rows in Redis, as a short text to compare.

Pure.  The reader keeps it in the stream with the snapshot's progress: when it changes, rows
that do not change keep their old form, with a warning (docs/adr/0015-models.md).
"""

from __future__ import annotations

import hashlib

import msgspec

from cdc.mask import Mask
from cdc.table import Index, Table

FORM_BYTES = 4
PROBE = "cdc"
"""What is hashed to see whether a mask's secret is another one; tells nothing of it."""


def form_of(table: Table) -> str:
    """Return the form of a table's rows: ``a3f1902c``; equal settings give equal texts.

    Only of the settings and the key's columns: what ALTER TABLE does to the other columns has
    a setting of its own (`on_schema_change`).  Never of a class's repr, which the next version
    of cdc may write differently.
    """
    parts = (
        table.key.text,
        table.identity,
        table.value_column,
        table.model,
        table.fields,
        [(column, _mask(mask)) for column, mask in table.masks],
        table.field.text if table.field else None,
        [_index(index) for index in table.indexes],
        table.ttl_s,
    )
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=FORM_BYTES).hexdigest()


def _mask(mask: Mask) -> tuple[str, int, str]:
    return mask.kind, mask.length, mask.applied(PROBE) if mask.kind == "hash" else ""


def _index(index: Index) -> tuple[str, ...]:
    member = index.member.text if index.member else ""
    return index.kind, index.key.text, index.score or "", member
