"""The types of keys that hold several rows: asked of Redis before each write.

A string or a hash of one row is replaced whole, of any type.  A parent's hash or an index
is added to, which fails where another client has made it a key of another type; inside a
transaction that would apply the batch in part.  So TYPE is asked before, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdc.errors import PreflightError
from redis_sink.store.writer import Writer


async def refuse_other_kinds(writer: Writer, shared: Mapping[str, str]) -> None:
    """Make sure that each key is absent or of its kind.

    Args:
        shared: ``{"orders:of:7": "set"}``, as of `Batch.shared`.

    Raises:
        PreflightError: a key is of another kind.
        CdcError: Redis refuses, or does not answer.
    """
    if not shared:
        return
    found = await writer.ask(*(("TYPE", key) for key in shared))
    for (key, kind), reply in zip(shared.items(), found, strict=True):
        is_kind = reply.decode()
        if is_kind not in (kind, "none"):
            raise PreflightError(
                f"the Redis key {key!r} is a {is_kind}, and cdc keeps a {kind} there",
                safe="this batch was not written, nor anything after it",
                fix="find who writes it, and remove it: redis-cli UNLINK KEY; then\n"
                "cdc refresh --only TABLE   which builds it again, and start cdc run again",
            )
