"""Read a cookie without showing it."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_riffusion.parameters import rule

#: A paste comes in parts, of which the next one has come by then.
_QUIET_SECONDS = 0.3


def read_cookie() -> str:
    """
    Read a cookie from standard input: all of a pipe or file, or a line of a terminal, which does not show it.

    :raises RiffusionConfigurationError: the input is no single line of text
    """
    if sys.stdin is None:
        found = ""
    elif sys.stdin.isatty():
        with _hidden(sys.stdin.fileno()):
            print("Paste the cookie, which is not shown, and press Enter: ", end="", file=sys.stderr, flush=True)
            found = _pasted(sys.stdin.fileno())
        print(file=sys.stderr)
    else:
        found = sys.stdin.read()
    cookie: str = _COOKIE.check("The cookie", found.strip(), shown=lambda _: "not a line of text")
    return cookie


def _pasted(terminal: int) -> str:
    found = b""
    # The shell would show, and run, lines that are left.
    while b"\n" not in found or select.select([terminal], [], [], _QUIET_SECONDS)[0]:
        if not (part := os.read(terminal, 65536)):
            break
        found += part
    return found.decode(errors="surrogateescape")


@contextmanager
def _hidden(terminal: int) -> Iterator[None]:
    import termios

    old = termios.tcgetattr(terminal)
    new = termios.tcgetattr(terminal)
    # getpass would leave the terminal its lines, which it cuts at 4,095 characters (Linux) or 1,023 (macOS).
    new[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(terminal, termios.TCSADRAIN, new)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, old)


_COOKIE = rule(lambda text: text != "" and text.isprintable(), "give the whole cookie on one line, without quotes")
