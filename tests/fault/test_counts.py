"""Rows are counted exactly once, however often the sink is killed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.bench import MARKS, TABLE, Bench
from tests.support.depth import by_depth
from tests.support.tally import seeded
from tests.support.truth import messages

KILLS = by_depth(3, full=15)
ROUNDS = by_depth(12, full=60)


@pytest.mark.parametrize("partitions", [1, 3])
def test_counts_are_exact_under_kills_of_the_sink(bench: Bench, partitions: int) -> None:
    """The hash has what was written, by table and operation; a change of the key is an update."""
    chance = seeded()
    bench.pipeline.environment["CDC_PARTITIONS"] = str(partitions)
    with bench.pipeline as pipeline, bench.mysql.connect() as connection:
        reader = pipeline.process("--role", "reader", name="reader").start()
        sink = pipeline.process("--role", "sink", name="sink").start()
        bench.wait_until_equal()
        kills = set(chance.sample(range(ROUNDS), KILLS))
        for n in range(ROUNDS):
            with connection.cursor() as cursor:
                more = ", ".join(f"({1000 + n * 10 + i}, 'x', NULL, 0)" for i in range(10))
                cursor.execute(f"INSERT INTO {TABLE} VALUES {more}")
                cursor.execute(f"UPDATE {TABLE} SET ver = ver + 1 WHERE id <= 20")
                cursor.execute(f"UPDATE {TABLE} SET id = id + 100000 WHERE id = {1000 + n * 10}")
                cursor.execute(f"DELETE FROM {TABLE} WHERE id = {1001 + n * 10}")
                cursor.execute(f"UPDATE {MARKS} SET n = n + 1")
            if n in kills:
                sink.kill_after(chance.uniform(0, 0.05))
        bench.wait_until_equal()
        bench.recovered("SIGKILL of the sink, counting")
        assert (sink.stop(), reader.stop()) == (0, 0)
    want = {
        "shop.users:snapshot": 99,
        "shop.users:insert": 10 * ROUNDS,
        "shop.users:update": 20 * ROUNDS + ROUNDS,
        "shop.users:delete": ROUNDS,
        "shop.marks:snapshot": 1,
        "shop.marks:update": ROUNDS + 1,
    }

    assert _counts(bench, partitions) == want
    stored = Counter(subject.split(".")[1] for subject, body in messages(bench.nats.url))
    assert stored["insert"] == 10 * ROUNDS


def _counts(bench: Bench, partitions: int) -> dict[str, int]:
    keys = [f"cdc:default:counts:{n}" for n in range(partitions)]
    out: Counter[str] = Counter()
    for key in keys if partitions > 1 else ["cdc:default:counts"]:
        found: Any = bench.client.hgetall(key)
        out.update({name.decode(): int(rows) for name, rows in found.items()})
    return dict(out)
