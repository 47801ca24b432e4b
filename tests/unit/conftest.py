"""Both ways through the hot path."""

from __future__ import annotations

import pytest

from cdc.jetstream import consumer, tap
from cdc_reader.messages import flush
from cdc_reader.publish import transaction
from cdc_reader.rows import result_set, row_plan
from redis_sink.plan import planner

COMPILED = (tap, flush, result_set, row_plan, transaction, consumer, planner)
"""The modules that have a compiled way."""


@pytest.fixture(params=["compiled", "python"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiled way, and the Python code alone."""
    for module in COMPILED:
        assert module._native is not None
        if request.param == "python":
            monkeypatch.setattr(module, "_native", None)
    return str(request.param)
