"""Both ways through the hot path."""

from __future__ import annotations

import pytest

from cdc import wire
from cdc_reader import flush, result_set, row_plan, transaction
from redis_sink import consumer, plan

COMPILED = (wire, flush, result_set, row_plan, transaction, consumer, plan)
"""The modules that have a compiled way."""


@pytest.fixture(params=["compiled", "python"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiled way, and the Python code alone."""
    for module in COMPILED:
        assert module._native is not None
        if request.param == "python":
            monkeypatch.setattr(module, "_native", None)
    return str(request.param)
