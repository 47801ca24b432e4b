"""The compiled hot path; everything else about the package is in setup.cfg.

Optional: where no compiler is there, the same is done in Python.
See docs/adr/0009-compiled-hot-path.md.
"""

from pathlib import Path

from setuptools import Extension, setup

FLAGS = ["-O2", "-std=c11", "-Wall", "-Wextra"]


def compiled(name: str) -> Extension:
    """Return the extension that is made of the C files in a package's folder ``native``."""
    folder = Path(name.partition(".")[0], "native")
    return Extension(
        name,
        sorted(map(str, folder.glob("*.c"))),
        include_dirs=["cdc/native"],
        depends=sorted(map(str, [*folder.glob("*.h"), *Path("cdc/native").glob("*.h")])),
        extra_compile_args=FLAGS,
        optional=True,
    )


setup(
    ext_modules=[
        compiled("cdc._native"),
        compiled("cdc_reader._native"),
        compiled("redis_sink._native"),
    ]
)
