"""pt-online-schema-change of Debian's percona-toolkit, with the Perl that it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cdc.demo import fetch
from cdc.demo.apt import PackageSite, unpack
from cdc.demo.servers import PASSWORD, MariaDB, MySQL

PERL = ("perl", "libdbi-perl", "libdbd-mysql-perl", "libterm-readkey-perl")
FOLDERS = ("share/perl5", "share/perl/*", "lib/*/perl5/*", "lib/*/perl/*", "lib/*/perl-base")
"""Where Debian has Perl's modules, below usr."""
DEADLINE_S = 60.0


class OnlineChange:
    """The program, which changes a table by a copy of it and triggers: ``OnlineChange()``."""

    def __init__(self) -> None:
        """Download it, once."""
        root = fetch.servers_dir() / "percona-toolkit"
        if not root.exists():
            with fetch.locked(f"{root.name}.lock"):
                if not root.exists():
                    _bring(root)
        perl = fetch.Program("perl", "", root / "usr/bin/perl", root)
        self._command = perl.command(str(root / "usr/bin/pt-online-schema-change"))
        usr = root / "usr"
        modules = [str(path) for pattern in FOLDERS for path in sorted(usr.glob(pattern))]
        plugins = next(usr.glob("lib/*/libmariadb3/plugin"))
        self._environment = {
            "PERL5LIB": os.pathsep.join(modules),
            # Connector/C looks for caching_sha2_password there.
            "MARIADB_PLUGIN_DIR": str(plugins),
        }

    def alter(
        self, server: MySQL | MariaDB, schema: str, table: str, change: str, rows: int
    ) -> str:
        """Change a table while others write to it; return what the program prints.

        Args:
            change: what ``ALTER TABLE …`` is followed by: ``ADD COLUMN c INT``.
            rows: how many it copies at once.

        Raises:
            RuntimeError: it does not end well; with what it printed.
        """
        where = f"S={server.folder}/mysqld.sock,u=root,D={schema},t={table}"
        quick = ("--recursion-method=none", f"--chunk-size={rows}", "--chunk-time=0")
        more = ("--no-version-check", "--charset=utf8mb4")
        login = server.folder.parent / "percona.cnf"
        login.touch(mode=0o600)
        login.write_text(f"[client]\npassword={PASSWORD}\n")
        given = (f"--alter={change}", f"--defaults-file={login}", where)
        done = subprocess.run(
            [*self._command, "--execute", *quick, *more, *given],
            env=os.environ | self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        if done.returncode != 0:
            raise RuntimeError(f"pt-online-schema-change: {done.stdout[-800:]}{done.stderr[-800:]}")
        return done.stdout


def _bring(root: Path) -> None:
    work = root.with_name(f"{root.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    site = PackageSite(work / "apt", fetch.OLD)
    site.open(print)
    packages = site.download(PERL, work / "debs", print)
    # Alone: with it come a debugger and more that this program of it has no use for.
    packages += site.download_alone("percona-toolkit", work / "toolkit", print)
    unpack(packages, work / "root")
    (work / "root").rename(root)
    shutil.rmtree(work)
