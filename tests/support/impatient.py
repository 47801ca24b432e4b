"""``python -m tests.support.impatient run --role …``: a role, with its pauses cut short.

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
    current_tables.LOOK_S, current_tables.LOOK_LONGEST_S = PAUSE_S, 10 * PAUSE_S
    Backoff.after.__defaults__ = (PAUSE_S,)
    main(sys.argv[1:])
