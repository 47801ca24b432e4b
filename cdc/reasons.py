"""Why each finding of a look at the servers matters, by its id.

Pure.  The ids are stable: ``cdc check --json`` gives them to programs, and docs/check.md has a
line for each.
"""

from __future__ import annotations

REASONS: dict[str, str] = {
    # -- MySQL and MariaDB
    "mysql.unreachable": "nothing can be read from it",
    "mysql.refused": "cdc cannot log in",
    "mysql.unexpected": "cdc does not know this answer",
    "mysql.version": "columns have no names in the binlog of so old a server",
    "mysql.log-bin": "there is nothing to follow",
    "mysql.binlog-format": "changes would be written as statements",
    "mysql.binlog-row-image": "rows would lack columns",
    "mysql.binlog-row-metadata": "columns would have no names",
    "mysql.binlog-row-value-options": "JSON columns would be written as differences",
    "mysql.sessions": "what they write to a captured table stops the reader",
    "mysql.server-id": "it serves no binlog",
    "mysql.server-id-taken": "two replicas with one number throw each other out",
    "mysql.gtid-mode": "after a failover to another server cdc cannot find its place",
    "mysql.binlog-retention": "an outage that lasts longer cannot be caught up with",
    "mysql.binlog-filter": "changes, or ALTER and TRUNCATE, would be missing in the binlog",
    "mysql.replica-updates": "what comes from its own source would be missing in the binlog",
    "mysql.replica-filter": "Redis will show what this server has, not what its source has",
    "mysql.xa": "a captured table that it changed stops the reader: its outcome is not known",
    "mysql.rights": "the binlog cannot be read",
    "mysql.dump": "the right is there, but the server sends no binlog",
    "mysql.select": "the rows that stand in the table cannot be read",
    "mysql.database": "tables without a database in their name cannot be found",
    "mysql.table": "there is nothing to capture",
    "mysql.table-key": "rows cannot be told apart",
    "mysql.table-unordered": "it is too large to be read in one piece, and has no key to go by",
    "mysql.column-type": "the value cannot be carried exactly",
    "mysql.column-charset": "the text cannot be carried exactly",
    "mysql.key-not-unique": "rows with the same key overwrite each other in Redis",
    "mysql.key-nullable": "a NULL in a key stops the reader",
    "mysql.cascade": "InnoDB changes these rows by itself, no binlog shows it: Redis keeps them",
    # -- NATS
    "nats.unreachable": "nothing can be published",
    "nats.refused": "cdc cannot log in",
    "nats.version": "several partitions need nats-server 2.11",
    "nats.jetstream": "nothing is stored",
    "nats.rights": "the pipeline stops where it needs them",
    "nats.stream-config": "messages could be lost, or the fence not hold",
    "nats.subjects-taken": "the stream cannot be created",
    "nats.dead-letters-config": "what cannot be applied could be forgotten",
    "nats.replicas": "the stream cannot be created with so many copies",
    "nats.one-copy": "the stream is away as long as the one node that holds it is",
    "nats.stream-room": "a full stream refuses, and the reader waits for room",
    "nats.max-payload": "NATS refuses the message, and the reader stops there",
    "nats.partitions": "a key's changes would be in two orders",
    # -- Redis
    "redis.unreachable": "nothing can be written",
    "redis.refused": "cdc cannot log in",
    "redis.version": "SMISMEMBER, which a refresh needs, came with 6.2",
    "redis.role": "it takes no writes",
    "redis.cluster": "data and position need one transaction",
    "redis.rights": "the sink stops where it needs them",
    "redis.info": "cluster mode and eviction cannot be checked",
    "redis.eviction": "it may evict keys that cdc keeps, and the position with them",
    "redis.memory": "without room Redis refuses to write, and the sink waits",
    "redis.persistence": "a restart empties it; what the stream has lost by then needs a refresh",
    "redis.foreign-keys": "somebody else wrote them; cdc would overwrite them",
    "redis.position": "it is not this pipeline's: going on there would be a guess",
}
