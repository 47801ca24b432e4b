"""The compiled path of the consumer."""

from __future__ import annotations

from cdc.compiled import native
from cdc.jetstream.tap import Raw
from cdc.message import Delivery


def test_deliveries_are_numbered_by_the_end_of_their_reply_subject() -> None:
    """Domains and accounts may stand before; a status is left to the Python code."""
    take = native("cdc")
    assert take is not None
    reply = b"$JS.ACK.hub.acc.MYSQL.cdc-sink.1.%d.%d.1795414891568123456.17"
    raws: list[Raw] = [(b"mysql.update", reply % (70 + n, 3 + n), b"", b"%d" % n) for n in range(3)]
    status = (b"_INBOX.x", b"", b"NATS/1.0 100 Idle Heartbeat\r\n\r\n", b"")
    raws[2:2] = [status]
    out: list[Delivery] = []

    assert take.deliveries(raws, 0, out) == (2, 4)
    assert out == [(70, b"mysql.update", b"0"), (71, b"mysql.update", b"1")]
    assert take.deliveries(raws, 3, out) == (4, 5)
    assert take.deliveries([(b"s", b"no.numbers", b"", b"")], 0, out) == (0, -1)
