"""Which server a connection leads to, from its global variables."""

from __future__ import annotations

import pytest

from cdc.mysql.server import IDENTITY, MySqlServer, server_of

UUID = "7271e0ec-e705-11f1-8850-02fc00000001"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"version": "9.7.4", "gtid_mode": "ON", "server_id": "1", "server_uuid": UUID},
            MySqlServer(mariadb=False, gtid=True, server=UUID),
        ),
        (
            {"version": "8.0.33", "gtid_mode": "OFF", "server_id": "1", "server_uuid": UUID},
            MySqlServer(mariadb=False, gtid=False, server=UUID),
        ),
        (
            {"version": "11.8.9-MariaDB-4 from Debian-log", "server_id": "7"},
            MySqlServer(mariadb=True, gtid=True, server="7"),
        ),
    ],
    ids=["MySQL with GTIDs", "MySQL without", "MariaDB"],
)
def test_a_server_is_named_by_its_uuid_or_on_mariadb_by_its_number(
    variables: dict[str, str], expected: MySqlServer
) -> None:
    """MariaDB has no server_uuid, and GTIDs always."""
    assert expected == server_of(variables)
    assert set(IDENTITY) >= set(variables)
