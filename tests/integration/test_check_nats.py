"""Every finding about NATS, provoked for real, and gone once its fix has been run."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from cdc.check.finding import Finding, Report
from cdc.check.nats_rights import Refusals, rights_needed, try_rights
from cdc.demo.ports import free_port
from cdc.demo.servers import MySQL, Nats, start_together
from cdc.errors import UnavailableError
from cdc.jetstream.stream import close, connect, declare_dead_letters, declare_stream, stream_config
from cdc.settings import load
from redis_sink.partitions.lease import Leases
from tests.conftest import NewNats
from tests.support.checking import QUIET, ask_nats, check, found, publish, stream_edit
from tests.support.pipeline import wait_for


@dataclass
class Place:
    """Names of the test's own on the shared NATS."""

    nats: Nats
    name: str

    @property
    def flags(self) -> dict[str, Any]:
        """Settings that use these names."""
        return {
            "stream": self.name.upper(),
            "subject_prefix": self.name,
            "pipeline": self.name,
            "tables": ("shop.users",),
        }

    def check(self, *servers: Any, role: str = "sink", **more: Any) -> Report:
        return check(*(servers or (self.nats,)), role=role, **(self.flags | more))

    def findings(self, *servers: Any, role: str = "sink", **more: Any) -> dict[str, Finding]:
        return found(self.check(*servers, role=role, **more), "nats")

    def config(self, **changed: Any) -> dict[str, Any]:
        """Return the stream as cdc declares it, and what is changed."""
        settings = load({k: v for k, v in self.flags.items() if k != "tables"}, {})
        return stream_config(settings, fast_ingest=True) | changed

    def create(self, **changed: Any) -> None:
        ask_nats(self.nats, f"STREAM.CREATE.{self.name.upper()}", self.config(**changed))


@pytest.fixture
def place(nats: Nats) -> Iterator[Place]:
    """Streams are removed with the test."""
    made = Place(nats, f"p{uuid.uuid4().hex[:8]}")
    before = set(ask_nats(nats, "STREAM.NAMES").get("streams") or ())
    yield made
    for name in set(ask_nats(nats, "STREAM.NAMES").get("streams") or ()) - before:
        ask_nats(nats, f"STREAM.DELETE.{name}")


def restart(server: Nats, options: dict[str, object] | str) -> None:
    """Start a server again with another configuration."""
    server.stop()
    server.options = options
    server.start()


def test_a_nats_that_is_set_up_well_has_no_findings(place: Place) -> None:
    """Without the stream, with it, and with one that has not learnt fast ingest yet."""
    assert place.findings(role="both") == {}
    place.create(allow_batched=False)
    assert place.findings(role="both") == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"discard": "old"},
        {"max_age": 60_000_000_000},
        {"max_bytes": 1 << 20},
        {"duplicate_window": 120_000_000_000},
        {"deny_delete": False},
        {"retention": "interest"},
        {"discard": "old", "deny_delete": False, "max_age": 60_000_000_000},
    ],
)
def test_a_stream_that_differs(place: Place, changed: dict[str, Any]) -> None:
    """The command makes it as cdc declares it."""
    place.create(**changed)
    (finding,) = place.findings().values()

    assert (finding.id, finding.stops) == ("nats.stream-config", True)
    stream_edit(place.nats, finding)
    assert place.findings() == {}


def test_subjects_of_a_stream_that_differ(place: Place) -> None:
    """Too few: they are added."""
    place.create(subjects=[f"{place.name}.update"])
    (finding,) = place.findings().values()
    stream_edit(place.nats, finding)

    assert place.findings() == {}


def test_a_stream_that_cannot_be_changed(place: Place) -> None:
    """In memory: the fix is another name with other subjects."""
    place.create(storage="memory")
    (finding,) = place.findings().values()
    other = {"stream": f"{place.name}_2".upper(), "subject_prefix": f"{place.name}_2"}

    assert (finding.fix.command, "--subject-prefix" in finding.fix.text()) == ("", True)
    assert place.findings(**other) == {}


def test_subjects_that_another_stream_has(place: Place) -> None:
    """The fix is another prefix, or that stream."""
    body = {"name": f"{place.name}_OLD", "subjects": [f"{place.name}.update"], "storage": "file"}
    ask_nats(place.nats, f"STREAM.CREATE.{place.name}_OLD", body)
    (finding,) = place.findings().values()

    assert (finding.id, finding.stops) == ("nats.subjects-taken", True)
    assert place.findings(subject_prefix=f"{place.name}_2") == {}


def test_a_stream_of_dead_letters_that_forgets(place: Place, new_nats: NewNats) -> None:
    """The command makes it keep them.  Pipelines share that stream: a server for this one."""
    server = new_nats()
    subject = f"cdc.dead.{place.name}"
    body = {"name": f"{place.name}_KEPT", "subjects": [subject], "storage": "file"}
    ask_nats(server, f"STREAM.CREATE.{place.name}_KEPT", body | {"discard": "old"})
    (finding,) = place.findings(server).values()

    assert (finding.id, finding.stops) == ("nats.dead-letters-config", True)
    stream_edit(server, finding)
    assert place.findings(server) == {}


def test_copies_on_a_server_alone(place: Place) -> None:
    """More than one needs a cluster; the fix is one."""
    (finding,) = place.findings(stream_replicas=3).values()

    assert (finding.id, finding.stops) == ("nats.replicas", True)
    assert place.findings(stream_replicas=1) == {}


def test_another_number_of_partitions(place: Place) -> None:
    """Known from the newest heartbeat; the fix is that number."""
    place.create()
    heartbeat = (
        b'{"op":"heartbeat","v":1,"partitions":4,"epoch":1,"file":"binlog.000001","offset":4,'
        b'"gtid_set":"","server":"7271e0ec-e705-11f1-8850-02fc00000001","ts":1795414891568123,'
        b'"last":"","last_of":["","","",""],"began":1,"snapshot":{}}'
    )
    publish(place.nats, f"{place.name}.heartbeat", heartbeat)
    (finding,) = place.findings().values()

    assert (finding.id, finding.stops) == ("nats.partitions", True)
    assert "--partitions 4" in finding.fix.text()
    assert place.findings(partitions=4) == {}


def test_a_server_without_jetstream(place: Place, new_nats: NewNats) -> None:
    """Restarted with the lines, it has it."""
    server = new_nats({"jetstream": False})
    (finding,) = place.findings(server).values()

    assert (finding.id, finding.stops) == ("nats.jetstream", True)
    assert finding.fix.file == ("nats-server.conf", "jetstream { store_dir: /data }")
    restart(server, {"jetstream": {"store_dir": str(server.folder)}})
    assert place.findings(server) == {}


def test_a_refused_login_and_a_server_that_is_away(place: Place, new_nats: NewNats) -> None:
    """Each is one finding."""
    server = new_nats('authorization { user: "u", password: "p" }')

    assert set(place.findings(server)) == {"nats.refused"}
    assert set(place.findings("nats://127.0.0.1:1")) == {"nats.unreachable"}
    assert place.findings(f"nats://u:p@127.0.0.1:{server.port}") == {}


# -- rights ----------------------------------------------------------------------------


def users(permissions: str) -> str:
    return (
        'authorization { users: [ { user: "root", password: "r" }\n'
        f'  {{ user: "u", password: "p"\n{permissions} }} ] }}'
    )


@pytest.mark.parametrize("role", ["reader", "sink", "both"])
def test_rights(place: Place, new_nats: NewNats, role: str) -> None:
    """Nobody receives what is tried; with the printed section the login has all that it needs."""
    server = new_nats(users('permissions: { publish: ["$JS.API.INFO"], subscribe: ["_INBOX_x"] }'))
    url = f"nats://u:p@127.0.0.1:{server.port}"
    # Without its inbox no answer would come: that right is given to see the others.
    inboxes = ["_INBOX_reader.>", "_INBOX_sink.>"]
    some = ["$JS.API.INFO", f"$JS.API.STREAM.INFO.{place.name.upper()}"]
    lacking: list[Finding] = []
    for allowed in (some[:1], some):
        restart(server, users(f"permissions: {{ publish: {allowed}, subscribe: {inboxes} }}"))
        lacking += place.findings(url, role=role).values()
    assert [f.id for f in lacking] == ["nats.rights"] * 2
    finding = lacking[-1]
    assert finding.error().exit_code == 77

    assert finding.fix.file is not None
    restart(server, users(finding.fix.file[1]))
    assert place.findings(url, role=role) == {}
    assert (ask_nats(f"nats://root:r@127.0.0.1:{server.port}", "STREAM.NAMES")["streams"]) is None


def test_the_right_to_remove_what_is_applied(place: Place, new_nats: NewNats) -> None:
    """Without it cdc runs; with the printed section nothing lacks."""
    settings = load({k: v for k, v in place.flags.items() if k != "tables"}, {})
    publish = json.dumps([*rights_needed(settings, "reader", False).publish])
    inbox = '["_INBOX_reader.>"]'
    server = new_nats(users(f"permissions: {{ publish: {publish}, subscribe: {inbox} }}"))
    url = f"nats://u:p@127.0.0.1:{server.port}"
    (finding,) = place.findings(url, role="reader").values()

    assert (finding.id, finding.stops) == ("nats.keep-rights", False)
    assert place.findings(url, role="reader", stream_keep_s=0) == {}
    assert finding.fix.file is not None
    restart(server, users(finding.fix.file[1]))
    assert place.findings(url, role="reader") == {}


def test_the_right_to_receive(place: Place, new_nats: NewNats) -> None:
    """An inbox that may not be subscribed to is told, not waited for."""
    publish_all = '"$JS.API.>", "cdc.dead.>"'
    server = new_nats(users(f'permissions: {{ publish: [{publish_all}], subscribe: ["x"] }}'))
    (finding,) = place.findings(f"nats://u:p@127.0.0.1:{server.port}").values()

    assert finding.id == "nats.rights"
    assert "subscribe _INBOX_sink.>" in finding.seen


# -- room and size ---------------------------------------------------------------------


def test_room_of_the_account(place: Place, new_nats: NewNats, rows: str, mysql: MySQL) -> None:
    """An account with less than the rows take; with more there is no finding."""

    def account(max_store: str) -> str:
        users = 'users: [ { user: "u", password: "p" } ]'
        return f"accounts {{ A {{ jetstream: {{ max_store: {max_store} }}, {users} }} }}"

    server = new_nats(account("64K"))
    url = f"nats://u:p@127.0.0.1:{server.port}"
    flags: dict[str, Any] = {"tables": (rows,), "role": "reader"}
    (finding,) = place.findings(url, mysql, **flags).values()

    assert (finding.id, finding.stops) == ("nats.stream-room", False)
    restart(server, account("64M"))
    assert place.findings(url, mysql, **flags) == {}


@pytest.mark.parametrize("partitions", [1, 2])
def test_limits_of_the_account(place: Place, new_nats: NewNats, partitions: int) -> None:
    """Sizes that are required, too large, or not free, and streams that are too many."""

    def account(limits: str) -> str:
        users = 'users: [ { user: "u", password: "p" } ]'
        return f"accounts {{ A {{ jetstream: {{ {limits} }}, {users} }} }}"

    flags: dict[str, Any] = {"role": "both", "partitions": partitions}
    server = new_nats(account("max_bytes_required: true, max_store: 200MB"))
    url = f"nats://u:p@127.0.0.1:{server.port}"
    (required,) = place.findings(url, **flags).values()
    assert (required.id, required.stops) == ("nats.account", True)
    value = required.fix.advice.split()[1]
    flags["stream_max_bytes"] = int(value)
    assert place.findings(url, **flags) == {}
    for limits in (
        "disk_max_stream_bytes: 10MB",
        "max_bytes_required: true, max_store: 100MB",
        f"max_streams: {partitions}",
    ):
        restart(server, account(limits))
        assert set(place.findings(url, **flags)) == {"nats.account"}, limits


def test_an_account_that_asks_for_sizes(place: Place, new_nats: NewNats) -> None:
    """All three streams are made, those beside the main one with sizes of their own."""
    users = 'users: [ { user: "u", password: "p" } ]'
    limits = "max_bytes_required: true, max_store: 200MB"
    server = new_nats(f"accounts {{ A {{ jetstream: {{ {limits} }}, {users} }} }}")
    url = f"nats://u:p@127.0.0.1:{server.port}"
    settings = load(
        {k: v for k, v in place.flags.items() if k != "tables"}
        | {"nats": url, "stream_max_bytes": "1000000"},
        {},
    )

    async def declared() -> None:
        nc = await connect(settings.nats, name="t", inbox_prefix="_INBOX_t", log=QUIET)
        try:
            await declare_stream(nc, settings)
            await declare_dead_letters(nc, settings)
            await Leases(nc, pipeline=settings.pipeline, replicas=1, owner="x").declare()
        finally:
            await close(nc)

    asyncio.run(declared())
    assert len(ask_nats(url, "STREAM.NAMES")["streams"]) == 3


def test_a_nats_that_stalls_while_rights_are_tried(place: Place, new_nats: NewNats) -> None:
    """It does not answer, which is no bug of cdc."""
    server = new_nats()
    settings = load({"nats": server.url}, {})

    async def tried() -> None:
        nc = await connect(settings.nats, name="t", inbox_prefix="_INBOX_t", log=QUIET)
        server.pause()
        try:
            await try_rights(nc, settings, "both", Refusals(), [])
        finally:
            server.resume()
            await close(nc)

    with pytest.raises(UnavailableError, match="does not answer"):
        asyncio.run(tried())


def test_a_row_that_is_too_large(place: Place, rows: str, mysql: MySQL) -> None:
    """Too large; perhaps; and not any more: a warning, whatever NATS carries in one message."""
    flags: dict[str, Any] = {"tables": (rows,), "role": "reader"}
    for limit, words in ((16_000, "max_row_bytes is 16 kB"), (30_000, "more where it is escaped")):
        report = place.check(place.nats, mysql, max_row_bytes=limit, **flags)
        finding = found(report, "mysql")["mysql.large-row"]
        assert words in finding.seen
        assert not finding.stops
    report = place.check(place.nats, mysql, max_row_bytes=1 << 20, **flags)
    assert "mysql.large-row" not in found(report, "mysql")

    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {rows} MODIFY name LONGTEXT")
    report = place.check(place.nats, mysql, **flags)
    assert "mysql.large-row" not in found(report, "mysql")
    assert any("name (longtext) may hold more" in note for note in report.notes)


@pytest.fixture
def rows(mysql: MySQL, fresh_schema: str) -> str:
    """A table of 500 small rows and one of 20 kB."""
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {fresh_schema}.users (id INT PRIMARY KEY, name TEXT)")
        values = [(n, "x" * 100) for n in range(500)] + [(500, "y" * 20_000)]
        cursor.executemany(f"INSERT INTO {fresh_schema}.users VALUES (%s, %s)", values)
    return f"{fresh_schema}.users"


# -- a cluster -------------------------------------------------------------------------


def test_one_copy_in_a_cluster(place: Place) -> None:
    """The command makes it three."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(3)]
        routes = [f"nats://127.0.0.1:{port}" for port in ports]
        nodes = [
            Nats({"cluster": {"name": "east", "listen": f"127.0.0.1:{port}", "routes": routes}})
            for port in ports
        ]
        start_together(stack, *nodes)
        node = nodes[0]
        wait_for("the cluster to elect", succeeds(lambda: ask_nats(node, "INFO")))
        create = f"STREAM.CREATE.{place.name.upper()}"
        wait_for("the stream", succeeds(lambda: ask_nats(node, create, place.config())))
        (finding,) = place.findings(node).values()

        assert (finding.id, finding.stops) == ("nats.one-copy", False)
        wait_for("the copies", succeeds(lambda: stream_edit(node, finding)))
        wait_for("a leader", lambda: place.findings(node, stream_replicas=3) == {})


def succeeds(act: Callable[[], object]) -> Callable[[], bool]:
    """Return whether something could be done; a cluster takes a while."""

    def tried() -> bool:
        try:
            act()
        except Exception:  # noqa: BLE001 - whatever it says while it elects
            return False
        return True

    return tried
