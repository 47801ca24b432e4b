"""The network between cdc and each server: cut at any byte, half-open, slow, altered."""

from __future__ import annotations

import random
import time

import pytest

from tests.support.bench import Bench
from tests.support.depth import by_depth
from tests.support.ordeal import ordeal
from tests.support.pipeline import Process, wait_for
from tests.support.proxy import Cut, Proxy
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(400)

CUTS = by_depth(40, full=200)
"""Of the sweep, over all links."""
CUT_WITHIN_S = 240.0
NOTICED_WITHIN_S = 30.0
LONGEST_CUT_BYTES = 200_000
IMPATIENT = ("tests.support.impatient",)
SPREAD = ("--partitions", "4")


def a_cut(chance: random.Random) -> Cut:
    """Return one at any byte: some of them within a greeting, a login or a first answer."""
    longest = chance.choice((500, 5_000, LONGEST_CUT_BYTES, LONGEST_CUT_BYTES))
    return chance.choice(("up", "down")), chance.randint(1, longest), chance.random() < 0.5


def cuts_are_done(bench: Bench) -> bool:
    """Say whether enough connections were cut, and some of each server's."""
    cuts = [proxy.cuts for proxy in bench.links.values()]
    return sum(cuts) >= CUTS and min(cuts) > CUTS // 20


def test_cut_at_any_byte(proxied: Bench) -> None:
    """Each connection ends after a number of bytes of its own: greeting, message or batch."""
    bench, chance = proxied, seeded()
    with bench.pipeline as pipeline:
        # Started before the cuts: at its start cdc says that a server does not answer, and ends.
        processes = [
            pipeline.process("--role", role, *SPREAD, name=role, program=IMPATIENT).start()
            for role in ("reader", "sink")
        ]
        bench.wait_for_progress_of_each(4)
        with ordeal(bench, chance, *processes, pause_s=0.01) as writer:
            for proxy in bench.links.values():
                proxy.cut_next = lambda: a_cut(chance)
                proxy.cut()
            wait_for("the cuts", lambda: cuts_are_done(bench), CUT_WITHIN_S)
            for proxy in bench.links.values():
                proxy.cut_next = lambda: None
                proxy.cut()
            bench.recovered("connections cut at any byte")
            writer.wait_for_commits()


@pytest.mark.parametrize("names", [("mysql", "redis"), ("nats",)], ids="+".join)
def test_a_half_open_connection_is_noticed(proxied: Bench, names: tuple[str, ...]) -> None:
    """Nothing passes, nothing ends: given up within 30 s, and gone on with a new connection."""
    bench, chance = proxied, seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        bench.wait_until_equal()
        with ordeal(bench, chance, process, pause_s=0.1):
            bench.wait_for_progress()
            began_s = time.monotonic()
            before = {name: bench.links[name].accepted for name in names}
            for name in names:
                assert bench.links[name].swallow() > 0
            left = set(names)
            while left:
                for name in sorted(left):
                    if bench.links[name].accepted > before[name]:
                        print(f"{name}: noticed after {time.monotonic() - began_s:.1f} s")
                        left.discard(name)
                assert time.monotonic() - began_s < NOTICED_WITHIN_S, left
                bench_pause(process)
            bench.recovered(f"half-open to {' and '.join(names)}")


@pytest.mark.parametrize(("name", "within_s"), [("mysql", 5.0), ("nats", 12.0), ("redis", 12.0)])
def test_it_stops_while_a_server_does_not_answer(
    proxied: Bench, name: str, within_s: float
) -> None:
    """SIGTERM while a new connection hears nothing: nothing is in flight, so 0, and soon."""
    bench = proxied
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        bench.wait_until_equal()
        link = bench.links[name]
        before, link.swallows = link.accepted, True
        link.cut()
        wait_for("a new connection", lambda: link.accepted > before)
        began_s = time.monotonic()
        code = process.stop(within_s)
        print(f"{name}: stopped after {time.monotonic() - began_s:.1f} s")

    assert code == 0, process.text()[-2000:]


def bench_pause(process: Process) -> None:
    """Look at the process now and then, so that its end is an error at once."""
    assert process.is_running(), process.text()
    time.sleep(0.05)


def test_a_slow_and_flapping_network(proxied: Bench) -> None:
    """Delay, little room and a cut every moment: late, but right."""
    bench, chance = proxied, seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        with ordeal(bench, chance, process, pause_s=0.05):
            for proxy in bench.links.values():
                proxy.delay_s = 0.05
            bench.wait_for_progress()
            for proxy in bench.links.values():
                proxy.delay_s, proxy.bytes_per_s = 0.0, 100_000
            bench.wait_for_progress()
            for proxy in bench.links.values():
                proxy.refuse()
            assert sum(proxy.cut(reset=True) for proxy in bench.links.values()) > 0
            wait_for("a warning", lambda: "waiting for a server" in process.text())
            for proxy in bench.links.values():
                proxy.listen()
            bench.wait_for_progress()
            for proxy in bench.links.values():
                proxy.bytes_per_s = 0
            bench.recovered("a slow and flapping network")


POSITION_LOST = 65
FLIPS = 6


def change_a_byte(link: Proxy, goal: int, chance: random.Random) -> None:
    """Change one byte that comes on the dump connection; the others are idle.

    A dump that was not open yet when the byte was marked passes it by: then it is marked anew.
    """
    marked_s = 0.0

    def is_changed() -> bool:
        nonlocal marked_s
        if link.flipped < goal and time.monotonic() > marked_s + 2.0:
            link.flip("down", chance.randint(0, 20_000))
            marked_s = time.monotonic()
        return link.flipped >= goal

    wait_for("the changed byte", is_changed)


def test_a_changed_byte_of_the_binlog_is_never_carried_on(proxied: Bench) -> None:
    """Its checksum says so: cdc stops and names it, or reads it anew; never a wrong value."""
    bench, chance = proxied, seeded()
    link: Proxy = bench.links["mysql"]
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        bench.wait_until_equal()
        stopped = 0
        with ordeal(bench, chance, pause_s=0.002) as writer:
            for flips in range(1, FLIPS + 1):
                bench.wait_for_progress()
                change_a_byte(link, flips, chance)
                writer.wait_for_commits(20)
                bench.wait_for_progress_or_end(process)
                if not process.is_running():
                    stopped += 1
                    assert process.wait() == POSITION_LOST, process.text()
                    assert "the binlog stream is damaged" in process.text()
                    process = pipeline.run()
            bench.recovered("a changed byte in the binlog")
        assert process.stop() == 0, process.text()
        assert stopped > 0
