from typing import Any

def take(
    deliveries: list[tuple[int, bytes, bytes]],
    at: int,
    last_id: str,
    ops: dict[bytes, str],
    is_hash: dict[str, bool],
    own: str,
    max_bytes: int,
    writes: dict[str, Any],
    counts: dict[str, int],
    key: bytes,
    since: int,
    /,
) -> tuple[int, str]: ...
