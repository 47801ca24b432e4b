"""Three servers of a test's own, because it stops at nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import Bench


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """A table of 99 rows on MySQL, and nothing on NATS and Redis."""
    return Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
