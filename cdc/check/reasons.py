"""Why each finding of a look at the servers matters, by its id.

Pure.  The ids are stable: ``cdc check --json`` gives them to programs, and docs/check.md has a
line for each.
"""

from __future__ import annotations

REASONS: dict[str, str] = {
    # -- MySQL and MariaDB
    "mysql.unreachable": "nothing can be read from it",
    "mysql.refused": "cdc cannot log in",
    "mysql.unexpected": "cdc does not recognize this answer",
    "mysql.version": "a server this old is not supported",
    "mysql.log-bin": "no binlog is written",
    "mysql.binlog-format": "changes would be written as statements",
    "mysql.binlog-row-image": "rows would lack columns",
    "mysql.binlog-row-metadata": "after an ALTER that passes, columns would have no names",
    "mysql.binlog-row-value-options": "JSON columns would be written as differences",
    "mysql.sessions": "tables that their statements change are read again each time",
    "mysql.set-aside": "its changes are skipped; it is read again, and is exact, once the cause is "
    "gone",
    "mysql.server-id": "it serves no binlog",
    "mysql.server-id-taken": "two replicas with the same server ID disconnect each other",
    "mysql.gtid-mode": "after a failover to another server cdc cannot find its position",
    "mysql.binlog-retention": "cdc cannot catch up after a longer outage",
    "mysql.binlog-filter": "changes, or ALTER and TRUNCATE, would be missing from the binlog",
    "mysql.replica-updates": "changes from its own source would be missing from the binlog",
    "mysql.replica-filter": "Redis will show what this server has, not what its source has",
    "mysql.xa": "its rows are locked and go out at its COMMIT; tables are read again where it was "
    "prepared before the stream began",
    "mysql.rights": "the binlog cannot be read",
    "mysql.dump": "the right is granted, but the server sends no binlog",
    "mysql.select": "existing rows cannot be read",
    "mysql.database": "tables without a database in their name cannot be found",
    "mysql.table": "there is nothing to capture",
    "mysql.pattern": "it may be mistyped",
    "mysql.table-engine": "the binlog does not show which rows the table has",
    "mysql.table-key": "rows cannot be identified",
    "mysql.table-key-part": "it identifies rows, but they cannot be read in its order",
    "mysql.table-unordered": "it is too large to read in one piece, and has no key to read it by",
    "mysql.column-type": "the value cannot be replicated exactly",
    "mysql.column-generated": "this MariaDB leaves them out of UPDATE and DELETE in its binlog",
    "mysql.column-charset": "the text cannot be replicated exactly",
    "mysql.key-not-unique": "rows with the same key overwrite each other in Redis",
    "mysql.key-nullable": "a NULL in a key stops the reader",
    "mysql.large-row": "the row becomes a dead letter, and its key is removed",
    "mysql.cascade": "InnoDB changes these rows without the binlog: Redis keeps the old ones",
    "mysql.cascade-hidden": "cascades that reach them from their own parents are not followed",
    # -- NATS
    "nats.unreachable": "nothing can be published",
    "nats.refused": "cdc cannot log in",
    "nats.version": "several partitions need nats-server 2.11",
    "nats.jetstream": "nothing is stored",
    "nats.rights": "the pipeline stops when it needs them",
    "nats.stream-config": "messages could be lost, or the fence could fail",
    "nats.subjects-taken": "the stream cannot be created",
    "nats.dead-letters-config": "dead letters could be lost",
    "nats.account": "a stream cannot be created",
    "nats.keep-rights": "nothing is removed from the stream, until it is full",
    "nats.replicas": "the stream cannot be created with this many replicas",
    "nats.one-copy": "the stream is unavailable whenever the one node that holds it is",
    "nats.stream-room": "a full stream refuses messages, and the reader waits for room",
    "nats.partitions": "changes of one key would have two orders",
    # -- Redis
    "redis.unreachable": "nothing can be written",
    "redis.refused": "cdc cannot log in",
    "redis.version": "SMISMEMBER, which a refresh needs, came with 6.2",
    "redis.role": "it takes no writes",
    "redis.cluster": "data and position need one transaction",
    "redis.rights": "the sink stops when it needs them",
    "redis.info": "cluster mode and eviction cannot be checked",
    "redis.eviction": "it may evict keys that cdc keeps, and the position with them",
    "redis.memory": "Redis refuses writes when memory is full, and the sink waits",
    "redis.persistence": "a restart empties it; what the stream no longer has then needs a refresh",
    "redis.foreign-keys": "another program wrote them; cdc would overwrite them",
    "redis.position": "it belongs to another pipeline: resuming from it would be a guess",
}
