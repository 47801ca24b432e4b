"""Login plugins of MariaDB 10.11, which Debian keeps in a package beside the server's."""

from __future__ import annotations

import shutil
from pathlib import Path

from cdc.demo import fetch
from cdc.demo.apt import PackageSite, unpack

PLUGINS = "usr/lib/mysql/plugin"


def plugin_dir() -> Path:
    """Return the folder with the plugins, downloaded once."""
    root = fetch.servers_dir() / "mariadb1011-plugins"
    if not root.exists():
        with fetch.locked(f"{root.name}.lock"):
            if not root.exists():
                _bring(root)
    return root / PLUGINS


def _bring(root: Path) -> None:
    work = root.with_name(f"{root.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    site = PackageSite(work / "apt", fetch.RECIPES["mariadb1011"].suite)
    site.open(print)
    unpack(site.download_alone("mariadb-server", work / "debs", print), work / "root")
    (work / "root").rename(root)
    shutil.rmtree(work)
