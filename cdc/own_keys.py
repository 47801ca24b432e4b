"""The keys that cdc keeps for itself in Redis: all begin with ``cdc:<pipeline>:``.

Pure.  Their values are described where they are made: `redis_sink.plan.applied`,
`redis_sink.plan.counts`, `redis_sink.store.older_forms`, `redis_sink.queries.status` and
`cdc_verify.checkpoint`.
"""

from __future__ import annotations

PREFIX = "cdc:"
"""No row stands below it, of whatever pipeline and version: a row's text may be anything."""


def is_of_cdc(key: str) -> bool:
    """Return whether a key is one of those that cdc keeps for itself, of whatever pipeline.

    >>> is_of_cdc("cdc:default:position:3"), is_of_cdc("users:cdc:1")
    (True, False)
    """
    return key.startswith(PREFIX)


def position_key(pipeline: str, partition: int = 0, partitions: int = 1) -> str:
    """Return the key of the position.

    >>> position_key("default"), position_key("default", 2, 4)
    ('cdc:default:position', 'cdc:default:position:2')
    """
    return _of_partition(f"cdc:{pipeline}:position", partition, partitions)


def position_keys(pipeline: str, partitions: int = 1) -> tuple[str, ...]:
    """Return the keys of all partitions' positions."""
    return tuple(position_key(pipeline, n, partitions) for n in range(partitions))


def counts_key(pipeline: str, partition: int = 0, partitions: int = 1) -> str:
    """Return the key of the hash of rows counted.

    >>> counts_key("default"), counts_key("default", 2, 4)
    ('cdc:default:counts', 'cdc:default:counts:2')
    """
    return _of_partition(f"cdc:{pipeline}:counts", partition, partitions)


def live_keys_key(pipeline: str, number: int, partition: int = 0, partitions: int = 1) -> str:
    """Return the key of the set of keys that were written since a refresh.

    >>> live_keys_key("default", 1795414891568123)
    'cdc:default:refresh:1795414891568123'
    """
    return _of_partition(f"cdc:{pipeline}:refresh:{number}", partition, partitions)


def templates_key(pipeline: str, partition: int = 0, partitions: int = 1) -> str:
    """Return the key of the hash of templates that keys were made by.

    >>> templates_key("default")
    'cdc:default:templates'
    """
    return _of_partition(f"cdc:{pipeline}:templates", partition, partitions)


def error_key(pipeline: str) -> str:
    """Return the key of the last error.

    >>> error_key("default")
    'cdc:default:error'
    """
    return f"cdc:{pipeline}:error"


def verify_key(pipeline: str, table: str) -> str:
    """Return the key of how the last verify of a table ended.

    >>> verify_key("default", "shop.users")
    'cdc:default:verify:shop.users'
    """
    return f"cdc:{pipeline}:verify:{table}"


def _of_partition(key: str, partition: int, partitions: int) -> str:
    return f"{key}:{partition}" if partitions > 1 else key
