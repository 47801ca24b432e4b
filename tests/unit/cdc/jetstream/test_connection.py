"""The connection to NATS: the private names of nats-py in use, and how it ends."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol.parser import Parser

from cdc.jetstream.connection import Connection

OURS = 7


def test_private_names_of_nats_py() -> None:
    """The private names in use are there, in the versions that setup.cfg allows."""
    major, minor = map(int, version("nats-py").split(".")[:2])
    assert (2, 16) <= (major, minor) < (3, 0)
    nc = Client()
    assert type(nc._ps) is Parser
    assert {"buf", "state"} <= vars(nc._ps).keys()
    assert inspect.iscoroutinefunction(Parser.parse)
    assert "self._ps.parse(" in inspect.getsource(Client._read_loop)
    assert nc._pending == []
    assert nc._pending_data_size == 0
    assert (nc._transport, nc._reading_task) == (None, None)
    assert nc._server_info == {}
    assert nc._resp_map == {}
    assert nc._err is None
    assert list(inspect.signature(Client._close).parameters) == ["self", "status", "do_cbs"]
    assert {"_io_reader", "_io_writer"} <= vars(TcpTransport()).keys()  # type: ignore[no-untyped-call]
    assert Subscription(nc, OURS)._id == OURS
    for name in ("user", "password", "token"):
        assert "Callback" in str(inspect.signature(Client.connect).parameters[name].annotation)


def test_lost_is_set_before_closing() -> None:
    """Whoever waits learns of the end at once, not when nats-py has finished tidying up."""

    async def end() -> tuple[bool, bool]:
        nc, wake = Connection(), asyncio.Event()
        nc.wakes.append(wake)
        nc._flush_queue = asyncio.Queue()
        await nc.close()
        return nc.lost.is_set(), wake.is_set()

    assert asyncio.run(end()) == (True, True)
