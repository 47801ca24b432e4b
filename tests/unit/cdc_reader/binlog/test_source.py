"""What the dump connection leans on: private names of two libraries, and our dump command."""

import importlib.metadata
import inspect
import struct
import uuid

import pymysql.connections
import pymysqlreplication.binlogstream as library

from cdc.position import MySqlGtidSet
from cdc_reader.binlog.source import encode_gtid_set, gtid_dump_command

A = "7271e0ec-e705-11f1-8850-02fc00000001"
B = "8271e0ec-e705-11f1-8850-02fc00000002"


def test_mysql_replication_is_the_version_whose_private_names_we_know() -> None:
    """The pin in setup.cfg and these names go together: change both, after reading its source."""
    assert importlib.metadata.version("mysql-replication") == "1.0.17"


def test_mysql_replication_still_sets_up_the_dump_as_we_use_it() -> None:
    """Connect, checksum flag, dump command through _write_bytes: the steps that we rely on."""
    connect = library.BinLogStreamReader._BinLogStreamReader__connect_to_stream
    source = inspect.getsource(connect)

    for used in (
        "self._stream_connection = self.pymysql_wrapper(",
        "self.__use_checksum = self.__checksum_enabled()",
        "SET @master_binlog_checksum= @@global.binlog_checksum",
        "SET @master_heartbeat_period",
        "self._stream_connection._write_bytes(prelude)",
    ):
        assert used in source


def test_pymysql_still_has_what_we_take_over() -> None:
    """Socket, read-ahead buffer, writing and hard closing are where we expect them."""
    source = inspect.getsource(pymysql.connections.Connection)

    for used in ("def _write_bytes(self, data)", "def _force_close(self)", "self._sock = sock"):
        assert used in source
    assert 'self._rfile = sock.makefile("rb")' in source


def test_a_set_without_tags_is_encoded_as_intervals() -> None:
    """Number of uuids, then uuid, number of intervals, first and one past last of each."""
    expected = (
        struct.pack("<Q", 2)
        + uuid.UUID(A).bytes
        + struct.pack("<QQQQQ", 2, 1, 8, 9, 10)
        + uuid.UUID(B).bytes
        + struct.pack("<QQQ", 1, 5, 6)
    )

    assert encode_gtid_set(MySqlGtidSet.parse(f"{A}:1-7:9,{B}:5")) == expected


def test_a_set_with_tags_says_so_and_names_them() -> None:
    """Each uuid with each of its tags is an entry of its own; an empty tag is the untagged."""
    expected = (
        bytes([1, 2, 0, 0, 0, 0, 0, 1])
        + uuid.UUID(A).bytes
        + b"\0"
        + struct.pack("<QQQ", 1, 1, 8)
        + uuid.UUID(A).bytes
        + b"\x0amytag"
        + struct.pack("<QQQ", 1, 4, 5)
    )

    assert encode_gtid_set(MySqlGtidSet.parse(f"{A}:1-7:mytag:4")) == expected


def test_the_dump_command_leaves_no_transaction_out() -> None:
    """Flags are 0: the library's own would skip tagged transactions."""
    command = gtid_dump_command(77, MySqlGtidSet())

    assert command == struct.pack("<BHIIQIQ", 0x1E, 0, 77, 0, 4, 8, 0)
