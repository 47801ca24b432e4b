"""The secret of a login, read when a connection begins: from its file, or from a program.

Blocking IO, for a thread.  Nothing is kept for a later connection, so that a password that was
changed is taken at the next one.  A program is run without a shell, with a limit of time and of
output; a cache is its own matter.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cdc.errors import SettingsError
from cdc.printable import one_line
from cdc.url import SecretSource, Url, hide, parse_url

COMMAND_TIMEOUT_S = 15.0
"""Long enough for a cloud's own tool, which is a slow Python program and asks over the network."""
LOGIN_PAUSE_MAX_S = 10.0
"""Longest pause before a login that was refused is tried again: a server may lock out an account
that tries often."""
PRINTED_MAX_BYTES = 1 << 16
STDERR_SHOWN = 300
"""Characters of the end of what a program wrote to stderr."""


def with_secret(url: Url) -> Url:
    """Return an address with the password as it is now; itself, where it has it already.

    Raises:
        SettingsError: the file cannot be read, or the program fails.
    """
    source = url.secret
    if source is None:
        return url
    if source.command:
        secret = _of_output(source, _run(source))
    else:
        secret = _of_file(source)
        if source.holds_url:
            return _with_login(url, source, secret)
    source.note(secret)
    return url.with_password(secret)


def _of_file(source: SecretSource) -> str:
    try:
        return Path(source.file).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or "it is not UTF-8"
        raise SettingsError(
            f"{source} cannot be read: {why}",
            safe="nothing was sent",
            fix="put the secret there, readable for the user of cdc; replace the file whole:\n"
            "write another one and rename it",
        ) from None


def _with_login(url: Url, source: SecretSource, text: str) -> Url:
    try:
        found = parse_url(text, (url.scheme,))
    except ValueError as error:
        raise SettingsError(
            f"{source} has a URL that {error}",
            safe="nothing was sent",
            fix="put the whole URL there; of a running cdc, only user and password are read again",
        ) from None
    for secret in found.secrets[:1]:
        source.note(secret)
    return replace(url, user=found.user, password=found.password, secret=None)


def _run(source: SecretSource) -> bytes:
    """Return what the program printed.

    Raises:
        SettingsError: it could not be started, failed, or took too long.
    """
    try:
        process = subprocess.Popen(
            source.command,
            # Nobody can answer a question; and a role's own stdin is from its parent.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: text for name, text in os.environ.items() if not name.startswith("CDC_")},
            # A group of its own, which is killed whole.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its name or an argument has a NUL"
        raise _failed(source, f"cannot be started: {why}") from None
    printed = bytearray(), bytearray()
    with process:
        why = "was given up"
        try:
            why = _collect(process, printed)
        finally:
            if why:  # what it started may hold its output open
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if why := why or _ending(process.returncode):
        raise _failed(source, why + _stderr(*map(bytes, printed)))
    return bytes(printed[0])


def _collect(process: subprocess.Popen[bytes], printed: Sequence[bytearray]) -> str:
    """Take what it prints until it ends; return why it was given up, or nothing."""
    end_s = time.monotonic() + COMMAND_TIMEOUT_S
    late = f"did not end within {COMMAND_TIMEOUT_S:g} s"
    with selectors.DefaultSelector() as waiting:
        for pipe, into in zip((process.stdout, process.stderr), printed, strict=True):
            assert pipe is not None
            waiting.register(pipe, selectors.EVENT_READ, into)
        while waiting.get_map():
            ready = waiting.select(end_s - time.monotonic())
            if not ready:
                return late
            for key, _ in ready:
                if data := os.read(key.fd, PRINTED_MAX_BYTES):
                    key.data.extend(data)
                else:
                    waiting.unregister(key.fileobj)
            if max(map(len, printed)) > PRINTED_MAX_BYTES:
                return f"printed more than {PRINTED_MAX_BYTES} bytes"
    try:
        process.wait(max(0.0, end_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        return late
    return ""


def _ending(code: int) -> str:
    if code == 0:
        return ""
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _stderr(out: bytes, err: bytes) -> str:
    """Return the end of its stderr for a person, without a part of what it printed as secret."""
    secrets = [line.strip() for line in out.decode("utf-8", "replace").splitlines()]
    text = hide(err.decode("utf-8", "replace").strip(), filter(None, secrets))
    return f": {one_line(text[-STDERR_SHOWN:])}" if text else ""


def _of_output(source: SecretSource, out: bytes) -> str:
    try:
        text = out.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _failed(source, "printed something that is not UTF-8") from None
    if not text.strip():
        raise _failed(source, "printed nothing")
    if "\n" in text or "\0" in text:
        raise _failed(source, "printed more than one line")
    return text


def _failed(source: SecretSource, why: str) -> SettingsError:
    return SettingsError(
        f"{source} {why}",
        safe="nothing was sent",
        fix="run it as the user of cdc: it has to print the password alone, and end with 0\n"
        f"within {COMMAND_TIMEOUT_S:g} s; it is run without a shell",
    )
