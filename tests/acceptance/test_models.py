"""Every example of docs/models.md, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import redis

from cdc.demo.servers import Nats, Redis
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.pipeline import Pipeline, wait_for

PAGE = (Path(__file__).parents[2] / "docs/models.md").read_text("utf-8")
SECRET = "the secret of the examples"


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Return each command of Redis with what it shows."""
    pieces = [
        piece for block in blocks("text") for piece in re.split(r"^> ", block, flags=re.MULTILINE)
    ]
    return [
        (head, "\n".join(line[2:] for line in rest.splitlines()))
        for head, _, rest in (piece.partition("\n") for piece in pieces if piece)
    ]


def shown(answer: Any) -> str:
    """Return an answer as the page shows it; members of a set have no order."""
    if isinstance(answer, dict):
        return "\n".join(text for pair in answer.items() for text in pair)
    if isinstance(answer, set):
        return "\n".join(sorted(answer))
    if isinstance(answer, list):
        parts = [part for one in answer for part in (one if isinstance(one, tuple) else (one,))]
        return "\n".join(f"{p:.0f}" if isinstance(p, float) else str(p) for p in parts)
    return str(answer)


def test_the_examples_of_the_page(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """One pipeline with all its settings: Redis shows what the page says."""
    mysql, nats, server = new_mysql(), new_nats(), new_redis()
    assert isinstance(nats, Nats)
    assert isinstance(server, Redis)
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE shop")
        for statement in "".join(blocks("sql")).split(";\n"):
            if statement.strip():
                cursor.execute(statement)
    (tmp_path / "cdc.toml").write_text("\n".join(blocks("toml")))
    pipeline = Pipeline(tmp_path, mysql=mysql.url, nats=nats.url, redis=server.url, tables="")
    del pipeline.environment["CDC_TABLES"]
    pipeline.environment |= {"CDC_CONFIG": str(tmp_path / "cdc.toml"), "CDC_MASK_KEY": SECRET}
    client: Any = redis.Redis(port=server.port, decode_responses=True, protocol=2)
    said = commands()
    assert len(said) == 9
    with pipeline:
        process = pipeline.run()
        wait_for("the last table", lambda: client.exists("sessions:c0ffee00"))
        found = [(command, shown(client.execute_command(command))) for command, _ in said]
        assert found == said
        assert 0 < client.ttl("sessions:c0ffee00") <= 3600
        assert client.ttl("users:7") == -1
        assert process.stop() == 0, process.text()
