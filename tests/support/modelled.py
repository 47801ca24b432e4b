"""Tables of every model, what Redis must hold for them, and an application that churns them.

The truth is a SELECT and a formatting of its own, which share nothing with the pipeline.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
import redis

from tests.support.pipeline import wait_for

SECRET = "a secret of at least sixteen bytes"
CREATE = (
    """
    CREATE TABLE shop.orders (
      id INT PRIMARY KEY, user_id INT NULL, email VARCHAR(60) NULL, phone VARCHAR(20) NULL,
      note VARCHAR(60) NULL, total DECIMAL(10,2) NULL, created_at DATETIME(3) NULL, ver INT NOT NULL
    )""",
    """
    CREATE TABLE shop.order_lines (
      order_id INT NOT NULL, no INT NOT NULL, article VARCHAR(60) NULL, ver INT NOT NULL,
      PRIMARY KEY (order_id, no)
    )""",
    "CREATE TABLE shop.visits (id INT PRIMARY KEY, page VARCHAR(60) NULL, ver INT NOT NULL)",
)
CONFIG = """
[tables."shop.orders"]
key = "orders:{id}"
exclude = ["phone"]
rename = {created_at = "at", total = "sum \\"€\\""}
mask = {email = "hash", note = "truncate:2"}
index = [
  {set = "orders:of:{user_id}"},
  {zset = "orders:by_user:{user_id}", score = "created_at"%(member)s},
  {zset = "orders:dear", score = "total"},
  {set = "orders:mail:{email}"%(member)s},
]

[tables."shop.order_lines"]
key = "order:{order_id}:lines"
as = "hash"
field = "{no}"
value = "article"

[tables."shop.visits"]
as = "hash"
mode = "cache"
ttl_s = 3600
"""
ORDERS = 60
Content = dict[str, Any]
"""Key -> a text, or a dict of a hash or sorted set, or a frozenset."""


def configure(folder: Path, *, partitions: int) -> dict[str, str]:
    """Write the settings; return what the environment has to say of them."""
    member = ', member = "{id}"' if partitions == 1 else ""
    (folder / "cdc.toml").write_text(CONFIG % {"member": member})
    return {"CDC_CONFIG": str(folder / "cdc.toml"), "CDC_MASK_KEY": SECRET}


def hashed(text: str) -> str:
    """Return what ``mask = "hash"`` makes of a text."""
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def expected(connection: pymysql.Connection[Any], *, partitions: int) -> Content:
    """Return all that Redis must hold."""
    out: Content = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, user_id, email, LEFT(note, 2), CAST(total AS CHAR),"
            " DATE_FORMAT(created_at, '%Y-%m-%dT%H:%i:%s.'), MICROSECOND(created_at) DIV 1000,"
            " TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_at) / 1000000, ver FROM shop.orders"
        )
        for order in cursor.fetchall():
            _order(out, order, partitions)
        cursor.execute("SELECT order_id, no, article FROM shop.order_lines")
        for order, no, article in cursor.fetchall():
            if article is not None:
                out.setdefault(f"order:{order}:lines", {})[str(no)] = article
        cursor.execute("SELECT id, page, ver FROM shop.visits")
        for number, page, ver in cursor.fetchall():
            row = {"id": str(number), "page": page, "ver": str(ver)}
            out[f"visits:{number}"] = {name: text for name, text in row.items() if text is not None}
    return {key: frozenset(v) if isinstance(v, set) else v for key, v in out.items()}


def _order(out: Content, order: tuple[Any, ...], partitions: int) -> None:
    number, user, email, note, total, at, ms, epoch, ver = order
    key = f"orders:{number}"
    member = str(number) if partitions == 1 else key
    row = {
        "id": number,
        "user_id": user,
        "email": None if email is None else hashed(email),
        "note": note,
        'sum "€"': total,
        "at": None if at is None else f"{at}{ms:03d}",
        "ver": ver,
    }
    out[key] = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    if user is not None:
        out.setdefault(f"orders:of:{user}", set()).add(key)
    if user is not None and epoch is not None:
        out.setdefault(f"orders:by_user:{user}", {})[member] = float(epoch)
    if total is not None:
        out.setdefault("orders:dear", {})[key] = float(total)
    if email is not None:
        out.setdefault(f"orders:mail:{hashed(email)}", set()).add(member)


def found(client: redis.Redis) -> Content:
    """Return all that Redis holds but for what cdc keeps for itself."""
    out: Content = {}
    for raw in client.scan_iter(count=5000):
        key = raw.decode()
        if not key.startswith("cdc:"):
            content = _read(client, key)
            if content:
                out[key] = content
    return out


def _read(client: redis.Redis, key: str) -> Any:
    kind: Any = client.type(key)
    answer: Any
    if kind == b"string":
        answer = client.get(key)
        return answer and answer.decode()
    if kind == b"hash":
        answer = client.hgetall(key)
        return {name.decode(): value.decode() for name, value in answer.items()}
    if kind == b"set":
        answer = client.smembers(key)
        return frozenset(member.decode() for member in answer)
    answer = client.zrange(key, 0, -1, withscores=True) if kind == b"zset" else []
    return {member.decode(): score for member, score in answer}


def wait_until_equal(
    connection: pymysql.Connection[Any],
    client: redis.Redis,
    *,
    partitions: int,
    deadline_s: float = 60.0,
) -> None:
    """Wait until Redis holds exactly what it must; nobody writes to MySQL any more."""
    want = expected(connection, partitions=partitions)
    try:
        wait_for("equality", lambda: found(client) == want, deadline_s)
    except TimeoutError:
        have = found(client)
        keys = sorted(want.keys() | have.keys())
        wrong = {k: (want.get(k), have.get(k)) for k in keys if want.get(k) != have.get(k)}
        raise AssertionError(f"key: (must be, is): {wrong}") from None


class Churn:
    """Writes random transactions from one thread: rows come, go, move and change their keys."""

    def __init__(self, connect: Callable[[], pymysql.Connection[Any]], *, seed: int) -> None:
        """Begin."""
        self.committed = 0
        self.error: BaseException | None = None
        self._connect = connect
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """End; return how many transactions were committed."""
        self._stop.set()
        self._thread.join(60)
        if self.error is not None:
            raise self.error
        return self.committed

    def _write(self) -> None:
        try:
            with self._connect() as connection, connection.cursor() as cursor:
                connection.autocommit(False)
                while not self._stop.is_set():
                    for _ in range(self._random.choice((1, 1, 2, 20))):
                        cursor.execute(*self._statement())
                    connection.commit()
                    self.committed += 1
                    self._stop.wait(0.001)
        except pymysql.MySQLError as error:
            self.error = error

    def _statement(self) -> tuple[str, tuple[Any, ...]]:
        chance, self_id = self._random, self._random.randint(1, ORDERS)
        user = chance.choice((None, 1, 2, 3, 4))
        text = chance.choice((None, "a@b", "ü@日本", 'q"uote', "x" * 9))
        kind = chance.random()
        if kind < 0.1:
            return "DELETE FROM shop.orders WHERE id = %s", (self_id,)
        if kind < 0.2:  # the key of the row changes, and the keys of its entries
            other = chance.randint(1, ORDERS)
            return "UPDATE IGNORE shop.orders SET id = %s WHERE id = %s", (other, self_id)
        if kind < 0.55:
            at = chance.choice((None, "1999-12-31 23:59:59.5", f"2026-01-0{chance.randint(1, 9)}"))
            return (
                "REPLACE INTO shop.orders VALUES (%s, %s, %s, '030', %s, %s, %s, %s)",
                (
                    self_id,
                    user,
                    text,
                    text,
                    chance.choice((None, "1.50", "-7")),
                    at,
                    self.committed,
                ),
            )
        if kind < 0.65:  # many rows in one event
            return (
                "UPDATE shop.orders SET user_id = %s, ver = ver + 1 WHERE id %% 7 = %s",
                (user, self_id % 7),
            )
        order, no = self_id % 6, chance.randint(1, 8)
        if kind < 0.72:
            return "DELETE FROM shop.order_lines WHERE order_id = %s AND no > %s", (order, no)
        if kind < 0.8:  # rows move to another parent
            return (
                "UPDATE IGNORE shop.order_lines SET order_id = %s, no = no + %s"
                " WHERE order_id = %s",
                (chance.randint(0, 5), chance.randint(0, 3), order),
            )
        if kind < 0.93:
            return (
                "REPLACE INTO shop.order_lines VALUES (%s, %s, %s, %s)",
                (order, no, text, self.committed),
            )
        if kind < 0.95:
            return "DELETE FROM shop.visits WHERE id = %s", (self_id,)
        return "REPLACE INTO shop.visits VALUES (%s, %s, %s)", (self_id, text, self.committed)
