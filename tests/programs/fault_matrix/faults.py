"""The rows: everything that can go wrong between an operation and the API."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import Any

from tests.support import raw_server
from tests.support.raw_server import Script

#: Far more than any limit on a body in these runs.
_TOO_MUCH = 64 * 2**20
_BLOCK = bytes(2**20)


@dataclass(frozen=True)
class Good:
    """
    The response that a request would have got, and what a fault may want to know.

    :param target: path and query of the request
    :param status: status of the response
    :param content_type: of the response
    :param body: of the response
    :param token: the API token
    :param elsewhere: URL of audio on another server
    """

    target: str
    status: int
    content_type: str
    body: bytes
    token: str
    elsewhere: str

    @property
    def is_json(self) -> bool:
        return self.content_type == "application/json"

    @property
    def filler(self) -> bytes:
        """A block that may follow the body without damage."""
        return _BLOCK.replace(b"\0", b" ") if self.is_json else _BLOCK

    def with_body(self, body: bytes) -> Script:
        return raw_server.ok(body, self.content_type)


Mangle = Callable[[Good], Script]


@dataclass(frozen=True)
class Fault:
    """
    A row. Exactly one of ``emulated``, ``mangle`` and ``lookup`` says how it is made.

    :param name: the row's name
    :param group: the table that it stands in
    :param emulated: a fault of the emulator; a function makes its value when the cell starts
    :param mangle: sends other bytes than the response that the emulator made
    :param lookup: what the API's name leads to, instead of the API
    :param settings: of the emulator, when the downloads are mp3 and wav
    :param damages_json: leaves a response alone that is no JSON
    :param has_variants: is repeated with a wrong value in each field
    :param api_is_elsewhere: the API's address, as far as anyone can tell, is not on this machine
    :param is_slow: only a short timeout or the minimum speed ends it
    """

    name: str
    group: str
    emulated: Mapping[str, Any] | None = None
    mangle: Mangle | None = None
    lookup: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    damages_json: bool = False
    has_variants: bool = False
    api_is_elsewhere: bool = False
    is_slow: bool = False

    def hits(self, good: Good) -> bool:
        """Whether the fault changes a response."""
        return good.is_json or not self.damages_json


STATUSES = "HTTP statuses"
CONNECTION = "No response"
BODY = "The body of the response"
JSON = "A response with other content than was asked for"
REDIRECTS = "Redirects"
ECHOES = "Responses that quote the API token"
GROUPS = (STATUSES, CONNECTION, BODY, JSON, REDIRECTS, ECHOES)

_CHUNKED = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked"
#: What takes the place of the right value of a field.
_WRONG_VALUES: tuple[object, ...] = (None, True, 5, "x", [], {})
#: In these rows the JSON, which for mp3 and wav names the file's URL, is what is damaged.
_URL = {"audio_reply": "url"}


def _in(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def _status(name: str, status: int, **options: Any) -> Fault:
    return Fault(
        name,
        STATUSES,
        emulated={"what": "status", "status": status, **options},
    )


def _statuses() -> Iterator[Fault]:
    yield _status("596", 596)
    yield _status("596, as HTML", 596, body="html")
    for status in (400, 401, 402, 403, 404, 409, 410, 412):
        yield _status(str(status), status)
    yield _status("422", 422, body="moderation")
    yield _status("429", 429)
    for title, value in (
        ("3", "3"),
        ("a date in a minute", lambda: _in(60)),
        ("a day", "86400"),
        ("a date in 20 years", lambda: _in(20 * 365 * 86400)),
        ("inf", "inf"),
        ("-5", "-5"),
        ("soon", "soon"),
        ("nan", "nan"),
    ):
        yield _status(f"429, Retry-After: {title}", 429, retry_after=value)
    for status in (500, 502, 503, 504):
        yield _status(str(status), status)
    yield _status("503, Retry-After: 3", 503, retry_after="3")
    yield _status("299, unknown", 299)
    yield _status("799, unknown", 799)


def _close(*pieces: bytes, head: str = "HTTP/1.1 200 OK\nConnection: close") -> Script:
    """Send pieces, and close."""

    def send(connection: Any) -> None:
        raw_server.response(head)(connection)
        for piece in pieces:
            connection.sendall(piece)

    return send


def _endless(good: Good) -> Script:
    def send(connection: Any) -> None:
        raw_server.response("HTTP/1.1 200 OK\nConnection: close", good.body)(connection)
        with suppress(OSError):
            for block in itertools.repeat(good.filler):
                connection.sendall(block)

    return send


@cache
def _compressed(block: bytes) -> bytes:
    return gzip.compress(block * (_TOO_MUCH // len(block)), 1)


def _bomb(good: Good) -> Script:
    body = gzip.compress(good.body) + _compressed(good.filler)
    return raw_server.response(f"HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: {len(body)}", body)


def _of_length(length: int) -> Mangle:
    return lambda good: raw_server.response(f"HTTP/1.1 200 OK\nContent-Length: {length}\nConnection: close", good.body)


def _typed(header: str) -> Mangle:
    def mangle(good: Good) -> Script:
        head = f"HTTP/1.1 200 OK\n{header}Content-Length: {len(good.body)}\nConnection: close"
        return raw_server.response(head, good.body)

    return mangle


def _connections() -> Iterator[Fault]:
    for name, lookup in (
        ("connection refused", "refused"),
        ("no such host (DNS)", "unknown"),
        ("TLS: unknown authority", "untrusted"),
        ("TLS: the server speaks none", "plain"),
    ):
        yield Fault(name, CONNECTION, lookup=lookup)
    yield Fault("reset before the response", CONNECTION, emulated={"what": "reset"})
    yield Fault("closed without a response", CONNECTION, emulated={"what": "lost-reply"})
    yield Fault("silence instead of a response", CONNECTION, emulated={"what": "stall"}, is_slow=True)
    yield Fault("a response that is no HTTP", CONNECTION, mangle=lambda good: raw_server.response("NONSENSE 200 OK"))


def _bodies() -> Iterator[Fault]:
    for name, options in (
        ("reset in the body", {"what": "reset", "after_bytes": 20}),
        ("cut short of Content-Length", {"what": "truncate", "framing": "length"}),
        ("cut in its chunks", {"what": "truncate", "framing": "chunked"}),
        ("cut, no length, no chunks", {"what": "truncate", "framing": "close"}),
        ("gzip stream cut", {"what": "gzip-cut"}),
        ("silence in the body", {"what": "stall", "after_bytes": 20}),
        ("a drip of 100 bytes/s", {"what": "drip", "bytes_per_second": 100}),
    ):
        yield Fault(name, BODY, emulated=options, is_slow=options["what"] in ("stall", "drip"))
    mangles: dict[str, Mangle] = {
        "nonsense for chunks": lambda good: raw_server.response(_CHUNKED, b"zz\r\nhello\r\n0\r\n\r\n"),
        "gzip bomb": _bomb,
        "endless": _endless,
        "Content-Length of 1 TB": _of_length(10**12),
        "Content-Length too small": lambda good: _of_length(len(good.body) // 2)(good),
        "no Content-Length": lambda good: _close(good.body),
        "wrong Content-Type": _typed("Content-Type: text/html\n"),
        "no Content-Type": _typed(""),
    }
    for name, mangle in mangles.items():
        yield Fault(name, BODY, mangle=mangle)


def _with_note(note: bytes) -> Mangle:
    """Add a field to the first object of the document."""
    return lambda good: good.with_body(good.body.replace(b"{", b'{"note": ' + note + b", ", 1))


def _not_finite(good: Good) -> Script:
    numbers = itertools.cycle((b"NaN", b"-Infinity", b"1e999"))
    body, count = re.subn(rb'(?<=": )[0-9.]+', lambda _: next(numbers), good.body)
    return good.with_body(body) if count else _with_note(b"[NaN, -Infinity, 1e999]")(good)


def names_in(document: object) -> Iterator[str]:
    """Yield the names of all fields of a document, of a list those of its first entry."""
    if isinstance(document, list):
        document = document[0] if document else None
    if isinstance(document, dict):
        yield from document
        for value in document.values():
            yield from names_in(value)


def _replaced(document: Any, name: str, value: object) -> Any:
    if isinstance(document, list):
        return [_replaced(document[0], name, value), *document[1:]] if document else document
    if not isinstance(document, dict):
        return document
    return {key: value if key == name else _replaced(old, name, value) for key, old in document.items()}


@dataclass
class Variants:
    """The manglings of the row with a wrong value in each field; the first one, which changes nothing, finds them."""

    found: list[tuple[str | None, object]] = field(default_factory=list)
    chosen: int | None = None

    def __call__(self, good: Good) -> Script:
        document = json.loads(good.body)
        if self.chosen is None:
            self.found = self.found or [
                (name, value) for name in (None, *dict.fromkeys(names_in(document))) for value in _WRONG_VALUES
            ]
            return good.with_body(good.body)
        name, value = self.found[self.chosen]
        return good.with_body(json.dumps(value if name is None else _replaced(document, name, value)).encode())


def _contents() -> Iterator[Fault]:
    for name, options in (
        ("JSON with an error", {"what": "json-error"}),
        ("HTML", {"what": "html"}),
        ("nothing", {"what": "empty"}),
        ("204", {"what": "204"}),
    ):
        yield Fault(name, JSON, emulated=options)
    mangles: dict[str, Mangle] = {
        "JSON with the words of a 596": lambda good: raw_server.ok(b'{"error": "Pending error"}', "application/json"),
        "JSON of another shape": lambda good: raw_server.ok(b'{"unexpected": [1, 2]}', "application/json"),
        "JSON, 200,000 levels deep": lambda good: raw_server.ok(b"[" * 200_000, "application/json"),
        "JSON of 64 MB": lambda good: _close(b"[", *[b" " * 2**20] * (_TOO_MUCH // 2**20), b"]"),
    }
    for name, mangle in mangles.items():
        yield Fault(name, JSON, mangle=mangle)
    yield Fault("JSON that is no UTF-8", JSON, mangle=_with_note(b'"\xff\xfe"'), settings=_URL, damages_json=True)
    yield Fault("JSON with NaN and Infinity", JSON, mangle=_not_finite, settings=_URL, damages_json=True)
    yield Fault(
        "a wrong type in any field (the worst)",
        JSON,
        settings=_URL,
        damages_json=True,
        has_variants=True,
        mangle=lambda good: good.with_body(good.body),
    )


def _moved(location: Callable[[Good], str], status: int = 302) -> Mangle:
    def mangle(good: Good) -> Script:
        head = f"HTTP/1.1 {status} X\nLocation: {location(good)}\nContent-Length: 0\nConnection: close"
        return raw_server.response(head)

    return mangle


def _redirects() -> Iterator[Fault]:
    yield Fault("to itself", REDIRECTS, mangle=_moved(lambda good: good.target))
    yield Fault("to audio on another server", REDIRECTS, mangle=_moved(lambda good: good.elsewhere))
    yield Fault("to a file: URL", REDIRECTS, emulated={"what": "redirect", "url": "file:///etc/passwd"})
    yield Fault(
        "from elsewhere to this machine", REDIRECTS, mangle=_moved(lambda good: good.elsewhere), api_is_elsewhere=True
    )
    yield Fault(
        "301 without a Location",
        REDIRECTS,
        mangle=lambda good: raw_server.response("HTTP/1.1 301 X\nContent-Length: 0\nConnection: close"),
    )


def _quoted(status: int, body: Callable[[Good], str | bytes]) -> Mangle:
    def mangle(good: Good) -> Script:
        content = body(good)
        content = content.encode() if isinstance(content, str) else content
        head = f"HTTP/1.1 {status} {good.token}\nX-Echo: Bearer {good.token}\nSet-Cookie: t={good.token}\n"
        return raw_server.response(f"{head}Content-Length: {len(content)}\nConnection: close", content)

    return mangle


def _encoded(token: str) -> str:
    return token.replace(":", "%3A")


_FREE_FIELDS = ("title", "lyrics", "sound", "share_url", "user_id", "expires_at_UTC")


def _good_with_token(good: Good) -> Script:
    """Put the token into the texts of a good response."""
    if not good.is_json:
        return _quoted(200, lambda good: good.body)(good)

    def marked(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: marked(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [marked(item) for item in value]
        is_free = isinstance(value, str) and name in _FREE_FIELDS
        return f"{value} {good.token} {_encoded(good.token)}" if is_free else value

    return _quoted(200, lambda good: json.dumps(marked(json.loads(good.body))))(good)


def _echoes() -> Iterator[Fault]:
    def error(good: Good) -> str:
        return json.dumps({"error": f"bad token {good.token}, that is {_encoded(good.token)}", "code": good.token})

    mangles: dict[str, Mangle] = {
        "401 with the token": _quoted(401, error),
        "500 with the token": _quoted(500, lambda good: f"{good.token}<html>{_encoded(good.token)}"),
        "200 with the token in an error": _quoted(200, error),
        "200 with nothing but the token": _quoted(200, lambda good: good.token),
        "unknown stems with the token": _quoted(200, lambda good: json.dumps({"parts": [good.token]})),
        "good response with the token": _good_with_token,
        "no HTTP but the token": lambda good: raw_server.response(f"{good.token} {_encoded(good.token)}"),
        "the token for chunks": lambda good: raw_server.response(_CHUNKED, f"{good.token}\r\n".encode()),
        "the token for an encoding": lambda good: raw_server.response(
            f"HTTP/1.1 200 OK\nContent-Encoding: {good.token}\nContent-Length: 5", b"hello"
        ),
        "redirect to a path with the token": _moved(lambda good: f"/{_encoded(good.token)}?token={good.token}"),
        "redirect elsewhere with the token": _moved(lambda good: f"{good.elsewhere}?token={_encoded(good.token)}"),
        "redirect to ftp: with the token": _moved(lambda good: f"ftp://{good.token}@localhost/{good.token}"),
    }
    for name, mangle in mangles.items():
        yield Fault(name, ECHOES, mangle=mangle)


def _unique(faults: Iterable[Fault]) -> Mapping[str, Fault]:
    by_name: dict[str, Fault] = {}
    for fault in faults:
        if fault.name in by_name:
            raise ValueError(f"two rows are called {fault.name!r}")
        by_name[fault.name] = fault
    return by_name


FAULTS = _unique(itertools.chain(_statuses(), _connections(), _bodies(), _contents(), _redirects(), _echoes()))


def with_variants(fault: Fault) -> tuple[Fault, Variants]:
    """Give a fault its variants."""
    variants = Variants()
    return replace(fault, mangle=variants), variants
