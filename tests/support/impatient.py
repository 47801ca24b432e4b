"""``python -m tests.support.impatient run …``: `cdc`, with the pauses between attempts cut short.

For tests that count attempts, not how long they take.
"""

from __future__ import annotations

import sys

from cdc.cli import main
from cdc_reader import current_tables, reader
from redis_sink.partitions.backoff import Backoff

PAUSE_S = 0.2

if __name__ == "__main__":
    reader.BACKOFF_MAX_S = PAUSE_S
    current_tables.LOOK_S = PAUSE_S
    Backoff.after.__defaults__ = (PAUSE_S,)
    main(sys.argv[1:])
