"""Read a cookie without showing it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_riffusion.parameters import rule


def read_cookie() -> str:
    """
    Read a cookie from standard input: all of a pipe or file, or a line of a terminal, which does not show it.

    :raises RiffusionConfigurationError: the input is no single line of text
    """
    if sys.stdin.isatty():
        print("Paste the cookie, which is not shown, and press Enter: ", end="", file=sys.stderr, flush=True)
        with _hidden(sys.stdin.fileno()):
            found = sys.stdin.readline()
        print(file=sys.stderr)
    else:
        found = sys.stdin.read()
    cookie: str = _COOKIE.check("The cookie", found.strip(), shown=lambda _: "not a line of text")
    return cookie


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
        termios.tcsetattr(terminal, termios.TCSADRAIN, old)


_COOKIE = rule(lambda text: text != "" and text.isprintable(), "give the whole cookie on one line, without quotes")
