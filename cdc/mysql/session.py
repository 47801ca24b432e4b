"""What every session of ours sets, so that nothing depends on the server's defaults.

Pure.  A server's global variables are its applications' matter: with READ-UNCOMMITTED as the
default, a first read would publish rows that are rolled back later; with ``sql_select_limit`` it
would lose columns, and then rows.  `cdc.mysql.connection` runs this on every connection: of the
reader, the first read, ``cdc check``, ``cdc verify`` and all other commands.

Sources: MySQL manual, "Server System Variables", "InnoDB System Variables"; MariaDB knowledge
base, "Server System Variables"; both, "Comments" (``/*!80013 … */`` is run by MySQL 8.0.13 and
newer alone, since MariaDB leaves out 50700 to 99999; ``/*M! … */`` by MariaDB alone).
"""

from __future__ import annotations

LARGEST = (1 << 64) - 1
STATEMENT_S = 120
"""How long the server waits until we take what it sends, or for a lock on a table's definition."""
IDLE_S = 28_800
"""How long a connection may be silent: MySQL's own default."""

_EVERYWHERE: tuple[tuple[str, str], ...] = (
    # What a value is printed as, and how our statements are read.
    ("sql_mode", "''"),  # no PAD_CHAR_TO_FULL_LENGTH, ANSI_QUOTES, NO_BACKSLASH_ESCAPES, ORACLE
    ("time_zone", "'+00:00'"),
    ("character_set_client", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("lc_time_names", "'en_US'"),
    ("div_precision_increment", "4"),
    ("sql_quote_show_create", "1"),  # `cdc_reader.catalog.table_check` reads SHOW CREATE TABLE
    ("sql_auto_is_null", "0"),
    # Which rows come, and whether all of them do.
    ("sql_select_limit", str(LARGEST)),
    ("sql_big_selects", "1"),
    ("sql_safe_updates", "0"),
    ("max_join_size", str(LARGEST)),
    ("group_concat_max_len", "1048576"),
    ("max_sort_length", "8192"),  # a key has 3072 bytes, its weights may have more
    # Transactions: one for each statement, unless we begin one; COMMIT ends it and no more.
    ("autocommit", "1"),
    ("completion_type", "0"),
    # How long the server is patient.
    ("wait_timeout", str(IDLE_S)),
    ("net_write_timeout", str(STATEMENT_S)),
    ("net_read_timeout", str(STATEMENT_S)),
    ("lock_wait_timeout", str(STATEMENT_S)),
    ("innodb_lock_wait_timeout", "50"),
)
_SOMEWHERE: tuple[tuple[str, str, str], ...] = (
    ("!80000", "max_execution_time", "0"),
    ("!80000", "information_schema_stats_expiry", "0"),  # else counts may be a day old
    ("!80013", "use_secondary_engine", "OFF"),  # its copy of the rows is behind
    ("!80030", "show_gipk_in_create_table_and_information_schema", "ON"),
    ("M!", "max_statement_time", "0"),
    ("M!", "idle_transaction_timeout", "0"),
    ("M!", "idle_readonly_transaction_timeout", "0"),
)

SESSION_SQL = (
    "SET "
    + ", ".join(f"SESSION {name} = {value}" for name, value in _EVERYWHERE)
    + "".join(f" /*{where} , SESSION {name} = {value} */" for where, name, value in _SOMEWHERE)
)
"""One statement for all servers that cdc reads from; needs no right."""

ISOLATION_SQL = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
"""A statement of its own: servers name the variable differently.  A read view that lasts is what
``START TRANSACTION WITH CONSISTENT SNAPSHOT`` needs, and no read sees what is not committed."""
