"""Where the servers of the tests have their data: in memory, where there is room.

On a disk a server waits for it at each commit and each CREATE TABLE, and a start of mysqld reads
around the page cache what has just been copied: half the time of a test that starts one.  What is
acknowledged outlasts a SIGKILL in both.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 6 << 30
"""A run needs a third of it at its peak; a container often has 64 MB there."""


def place_data_in_memory() -> None:
    """Have temporary folders made in memory, where `TMPDIR` names no other place.

    pytest's own, which it keeps for a look at them, stay where they were.
    """
    if os.environ.get("TMPDIR") or not MEMORY.is_dir():
        return
    if shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.gettempdir()
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # it is found anew
