"""The rights that a login needs, as statements."""

from __future__ import annotations

from cdc_reader.catalog.grants import all_grants, grant, grant_select, rights


def test_a_login_gets_what_it_needs_and_no_more() -> None:
    """The binlog's rights once, SELECT on each table."""
    found = list(all_grants(["`shop`.`users`"], "'cdc'@'10.%'", "cdc", mariadb=True))

    assert found == [
        "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'cdc'@'10.%';",
        "GRANT SELECT ON `shop`.`users` TO 'cdc'@'10.%';",
    ]
    assert found == [
        grant(rights(mariadb=True), "'cdc'@'10.%'"),
        grant_select("`shop`.`users`", "'cdc'@'10.%'"),
    ]


def test_an_administrator_is_told_to_make_a_login_of_its_own() -> None:
    """Least privilege: cdc does not run as root."""
    create, binlog, *others = all_grants([], "'root'@'%'", "root", mariadb=False)

    assert create.startswith("CREATE USER 'cdc'@'%' IDENTIFIED BY")
    assert binlog == "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'cdc'@'%';"
    assert others == []
