"""A schema on a server, and pipelines on its one table, each with settings of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis
from cdc_reader.catalog.dialect import dialect_of
from tests.support.pipeline import Pipeline, wait_for


class Place:
    """A schema on one server, and pipelines on it, each with a Redis that is emptied before."""

    def __init__(self, server: MySQL | MariaDB, nats: Nats, redis_server: Redis, folder: Path):
        """Make the schema."""
        self.server, self.nats, self.folder = server, nats, folder
        self.redis = f"redis://127.0.0.1:{redis_server.port}/8"
        self.client = redis.Redis(port=redis_server.port, db=8, decode_responses=True)
        self.client.flushdb()
        self.schema = f"c_{uuid.uuid4().hex[:8]}"
        self.execute(f"CREATE DATABASE {self.schema} CHARACTER SET utf8mb4")
        ((version,),) = self.execute("SELECT VERSION()")
        self.dialect = dialect_of(version)
        self._pipelines: list[Pipeline] = []
        self.stack = ExitStack()

    def close(self) -> None:
        """End the pipelines and take the schema away."""
        self.stack.close()
        self.execute(f"DROP DATABASE {self.schema}")

    def execute(self, *statements: str) -> Any:
        """Run statements in the schema; return the last one's rows."""
        with self.server.connect() as connection, connection.cursor() as cursor:
            if hasattr(self, "stack"):
                cursor.execute(f"USE {self.schema}")
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def pipeline(self, settings: str) -> Pipeline:
        """Return a pipeline of its own; ``{t}`` in the settings is ``[tables."schema.t"]``."""
        name = f"p{uuid.uuid4().hex[:8]}"
        path = self.folder / f"{name}.toml"
        path.write_text(settings.replace("{t}", f'[tables."{self.schema}.t"]'))
        made = Pipeline(
            self.folder,
            mysql=f"{self.server.url}/{self.schema}",
            nats=self.nats.url,
            redis=self.redis,
            tables=f"{self.schema}.t",
        )
        made.environment |= {"CDC_CONFIG": str(path), "CDC_PIPELINE": name, "CDC_STREAM": name} | {
            "CDC_SUBJECT_PREFIX": name
        }
        self._pipelines.append(made)
        return self.stack.enter_context(made)

    def cdc(self, pipeline: Pipeline, *arguments: str, code: int = 0) -> str:
        """Run a command of it to its end; return what it said, stdout first."""
        done = subprocess.run(
            [sys.executable, "-m", "cdc", *arguments],
            env=os.environ | pipeline.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, pipeline: Pipeline, *arguments: str, code: int = 0) -> Any:
        """Run a command that says one object on stdout."""
        said, _ = json.JSONDecoder().raw_decode(self.cdc(pipeline, *arguments, "--json", code=code))
        return said

    def shown(self, key: str, value: str) -> None:
        """Wait until a key has a value."""
        try:
            wait_for(f"{key} = {value}", lambda: self.client.get(key) == value, 30)
        except TimeoutError:
            print(key, self.client.get(key), *(one.logs() for one in self._pipelines))
            raise
