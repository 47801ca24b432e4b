"""Every command of cdc on a pipeline that runs, as a person would use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.pipeline import Process, wait_for


def cdc(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cdc", *arguments],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_every_command_works(
    environment: Mapping[str, str],
    folder: Path,
    *,
    client: Any,
    write: Callable[[str], None],
    warnings: tuple[str, ...] = (),
) -> None:
    """Use each command once; each ends with 0 and warns of nothing but `warnings`.

    Args:
        client: of Redis, which may read and write the keys of `your_table`.
        write: runs a statement in the database `shop`, whose `your_table` is followed.
        warnings: texts that a warning of `cdc check` or `cdc run` may have.
    """

    def works(*arguments: str, code: int = 0) -> str:
        done = cdc(environment, *arguments)
        said = f"cdc {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, said
        assert "does not answer" not in said, said
        return done.stdout

    def shows(name: str) -> bool:
        return bool(
            client.get("your_table:1")
            == json.dumps({"id": 1, "name": name}).replace(" ", "").encode()
        )

    write("INSERT INTO your_table VALUES (1, 'Ada'), (2, 'Bob')")
    found = json.loads(works("check", "--json"))["findings"]
    assert all(any(text in one["seen"] for text in warnings) for one in found), found
    works("run", "--dry-run")
    process = Process(["run"], dict(environment), folder / "every.log").start()
    try:
        wait_for("the first reading", lambda: shows("Ada"))
        write("UPDATE your_table SET name = 'Eve' WHERE id = 1")
        works("wait", "--timeout", "30")
        assert shows("Eve")
        works("status", "--check")
        works("tail", "--from", "earliest", "--limit", "1")
        works("verify")
        client.set("your_table:1", "wrong")
        client.set("your_table:77", "of no row")
        works("verify", "--repair")
        assert shows("Eve")
        assert client.get("your_table:77") is None
        works("snapshot", "--from", "1", "--to", "2")
        client.set("your_table:78", "of no row")
        works("refresh", "--only", "your_table", "--yes")
        wait_for("the sweep", lambda: client.get("your_table:78") is None)
        works("dead", "list")
        works("dead", "retry", "--all")
        works("dead", "drop", "--all", "--yes")
        write("DELETE FROM your_table WHERE id = 2")
        works("wait", "--timeout", "30")
        assert client.get("your_table:2") is None
        assert process.stop() == 0, process.text()
        events = [json.loads(line) for line in process.text().splitlines()]
        bad = [one for one in events if one["level"] in ("warning", "error")]
        allowed = (*warnings, "a refresh was announced")
        assert all(any(text in str(one) for text in allowed) for one in bad), bad
    finally:
        print(process.text()[-3000:])
        process.close()
