from collections.abc import Sequence
from typing import Any

class Plan:
    head: bytes
    def __init__(
        self,
        *,
        op: str,
        table: str,
        about: bytes,
        head: bytes,
        columns: tuple[tuple[int, int, int, int, int, int, Any], ...],
        before: bytes,
        after: bytes,
        key: tuple[bytes | tuple[int, tuple[bytes, ...] | None], ...],
        value: tuple[bytes | tuple[int, None], ...],
        single: bool,
        addresses: tuple[bytes, ...],
        watch: int,
        silent: bool,
    ) -> None: ...
    def rows(
        self,
        buffer: bytes,
        at: int,
        end: int,
        row: int,
        prefix: str,
        prev: str,
        middle: str,
        tail: str,
        out: list[bytes],
        last_of: list[str] | None,
        addresses: list[bytes] | None,
        /,
    ) -> tuple[int, str] | None: ...
    def selected(self, rows: Sequence[tuple[bytes | None, ...]], out: list[bytes], /) -> bool: ...

def follow(
    buffer: bytes,
    at: int,
    checksum: bool,
    id_head: str,
    end: int,
    in_transaction: bool,
    begun: bool,
    messages: int,
    event_us: int,
    gtid: str,
    context: str,
    suffix: str,
    last: str,
    by_map: dict[bytes, Any],
    by_id: dict[bytes, Any],
    last_of: list[str] | None,
    /,
) -> (
    tuple[
        int, int, bool, bool, int, int, str, str, str, str, int,
        list[str | tuple[str, int, int]],
        list[tuple[str, str, list[bytes], list[bytes] | None]],
    ]
    | None
): ...  # fmt: skip
def cut_rows(
    data: bytes, at: int, columns: int, rows: list[tuple[bytes | None, ...]], /
) -> int: ...
