"""Faults on order: what can go wrong, which requests it hits, and how it changes a reply."""

from __future__ import annotations

import itertools
import re
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from airflow_provider_riffusion.emulator.riffusion.models import path_matches
from airflow_provider_riffusion.emulator.riffusion.state import PENDING_MESSAGE, PENDING_STATUS
from airflow_provider_riffusion.emulator.server.response import (
    ERROR_BODIES,
    FRAMINGS,
    Reply,
    bytes_reply,
    error_reply,
    html_page,
    json_reply,
    reason_phrase,
    redirect_reply,
)

FAULTS = (
    "status",
    "reset",
    "truncate",
    "stall",
    "drip",
    "gzip",
    "gzip-cut",
    "json-error",
    "html",
    "empty",
    "204",
    "redirect",
    "redirect-loop",
    "wrong-format",
    "endless",
    "lost-reply",
)
REDIRECT_LOOP_PATH = "/files/redirect-loop"

_ENDLESS_LENGTH = 2**40
_UNKNOWN_LENGTH_CUT = 1_000


@dataclass(frozen=True)
class Fault:
    """
    Something that goes wrong, and the requests that it hits. Of several faults that match, the oldest hits.

    :param what: one of :data:`FAULTS`:

        - ``status``: answers ``status`` at once, the request is not carried out
        - ``reset``: resets the connection (RST) before the head, or after ``after_bytes`` of body
        - ``truncate``: closes the connection after ``after_bytes`` of body
        - ``stall``: silent for ``seconds`` before the head, or after ``after_bytes`` of body, then goes on
        - ``drip``: sends ``bytes_per_second``, the first ``after_bytes`` of body at full speed
        - ``gzip``: compresses the body
        - ``gzip-cut``: ends the compressed stream after ``after_bytes``, in good HTTP form
        - ``json-error``, ``html``, ``empty``: 200 with such a body
        - ``204``: answers 204
        - ``redirect``: sends to ``url``
        - ``redirect-loop``: sends to a page of this server that redirects to itself for ever
        - ``wrong-format``: mp3 bytes where wav was asked and the reverse
        - ``endless``: repeats the body for ever
        - ``lost-reply``: carries the request out and closes the connection without a reply
    :param times: how many requests it hits; None: all
    :param path: hits requests with this in their path (``music/download``); with a leading slash it is the
        whole path, trailing slash aside
    :param song_id: hits requests about this song or job
    :param method: hits requests of this HTTP method
    :param status: for ``status``: 200 to 999; for ``redirect`` and ``redirect-loop``: None is 302
    :param body: for ``status``, the form of the body: ``json``, ``json-no-code``, ``json-nested``,
        ``json-text-code``, ``html``, ``empty`` or ``moderation``
    :param message: for ``status`` and ``json-error``, text of the error; None: a plausible one
    :param retry_after: for ``status``, value of a ``Retry-After`` header, sent as it is
    :param after_bytes: bytes of body before the fault; None for ``truncate`` and ``gzip-cut``: half of the
        body
    :param seconds: for ``stall``; None: until the emulator stops
    :param bytes_per_second: for ``drip``
    :param url: for ``redirect``, value of the ``Location`` header, any scheme
    :param framing: how the end of the body is told: ``length`` (Content-Length; 1 TiB for ``endless``),
        ``chunked``, ``close`` (neither); None: as in the reply, ``chunked`` for ``gzip`` and ``endless``
    """

    what: str
    times: int | None = None
    path: str | None = None
    song_id: str | None = None
    method: str | None = None
    status: int | None = None
    body: str = "json"
    message: str | None = None
    retry_after: str | None = None
    after_bytes: int | None = None
    seconds: float | None = None
    bytes_per_second: float | None = None
    url: str | None = None
    framing: str | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(problem)

    def _problem(self) -> str | None:
        if self.what not in FAULTS:
            return f"what is one of {', '.join(FAULTS)}, not {self.what!r}"
        if self.what == "status" and self.status is None:
            return "the fault status needs a status"
        if self.status is not None and not 200 <= self.status <= 999:
            return f"status is 200 to 999, not {self.status}"
        if self.what == "redirect" and self.url is None:
            return "the fault redirect needs a url"
        if self.what == "drip" and (self.bytes_per_second is None or self.bytes_per_second <= 0):
            return "the fault drip needs bytes_per_second above 0"
        if self.times is not None and self.times < 1:
            return f"times is 1 or more, not {self.times}"
        if self.after_bytes is not None and self.after_bytes < 0:
            return f"after_bytes is 0 or more, not {self.after_bytes}"
        if self.body not in ERROR_BODIES:
            return f"body is one of {', '.join(ERROR_BODIES)}, not {self.body!r}"
        if self.framing is not None and self.framing not in FRAMINGS:
            return f"framing is one of {', '.join(FRAMINGS)}, not {self.framing!r}"
        for text in (self.retry_after, self.url):
            if text is not None and re.search(r"[\r\n]", text):
                return "a header value has no line breaks"
        return None

    def matches(self, method: str, path: str, song_id: str | None) -> bool:
        """
        Tell whether the fault is meant for a request.

        :param method: HTTP method
        :param path: path of the URL
        :param song_id: the song or job that the request is about
        """
        return (
            path_matches(path, self.path)
            and self.song_id in (None, song_id)
            and (self.method is None or self.method.upper() == method)
        )


_INTEGERS = {"times", "status", "after_bytes"}
_NUMBERS = {"seconds", "bytes_per_second"}


def fault_from_mapping(values: Mapping[str, Any]) -> Fault:
    """
    Make a fault from JSON or from the words of a command line; ValueError says what is wrong.

    :param values: the fields of :class:`Fault`; without ``what``, a ``status`` says it
    """
    values = dict(values)
    unknown = values.keys() - {field.name for field in fields(Fault)}
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
    if "what" not in values and "status" in values:
        values["what"] = "status"
    if "what" not in values:
        raise ValueError(f"what is missing, one of {', '.join(FAULTS)}")
    for name, value in values.items():
        if value is None or (isinstance(value, bool) and name in _INTEGERS | _NUMBERS):
            continue
        try:
            if name in _INTEGERS:
                values[name] = int(value)
            elif name in _NUMBERS:
                values[name] = float(value)
            else:
                values[name] = str(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} is a number, not {value!r}") from None
    return Fault(**values)


def parse_fault(text: str) -> Fault:
    """
    Make a fault from a command line, such as ``status=503,times=2,path=music/download`` or
    ``reset,after_bytes=1000``.

    :param text: the name of the fault first, then its fields; ValueError says what is wrong
    """
    # A comma inside a value (an HTTP date) is not followed by a field's name.
    words = re.split(r",(?=[a-z_]+=)", text.strip())
    values: dict[str, str] = {} if "=" in words[0] else {"what": words.pop(0)}
    for word in words:
        name, _, value = word.partition("=")
        values[name.strip()] = value.strip()
    return fault_from_mapping(values)


class FaultList:
    """The faults in force; safe to use from any thread."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """
        Put a fault in force.

        :param fault: the fault
        """
        with self._lock:
            self._faults[next(self._numbers)] = fault
            return fault

    def take(self, method: str, path: str, song_id: str | None) -> Fault | None:
        """
        Return the fault that hits a request and use up one of its times; None when none does.

        :param method: HTTP method
        :param path: path of the URL
        :param song_id: the song or job that the request is about
        """
        with self._lock:
            for number, fault in self._faults.items():
                if fault.matches(method, path, song_id):
                    if fault.times == 1:
                        del self._faults[number]
                    elif fault.times is not None:
                        self._faults[number] = replace(fault, times=fault.times - 1)
                    return fault
        return None

    def snapshot(self) -> list[dict[str, Any]]:
        """Return the faults in force as JSON, each with the times that are left."""
        with self._lock:
            return [
                {name: value for name, value in asdict(fault).items() if value is not None}
                for fault in self._faults.values()
            ]

    def clear(self) -> None:
        """Lift all faults."""
        with self._lock:
            self._faults.clear()


def reply_instead(fault: Fault, base_url: str) -> Reply | None:
    """
    Return the reply that a fault gives in place of carrying the request out; None when the request is carried
    out.

    :param fault: the fault
    :param base_url: this server's base URL
    """
    if fault.what == "status" and fault.status is not None:
        message = PENDING_MESSAGE if fault.status == PENDING_STATUS else reason_phrase(fault.status)
        return error_reply(fault.status, fault.message or message, body=fault.body, retry_after=fault.retry_after)
    if fault.what == "json-error":
        return json_reply({"error": fault.message or "Upstream error"})
    if fault.what == "html":
        return bytes_reply(html_page(200), "text/html; charset=utf-8")
    if fault.what == "empty":
        return bytes_reply(b"", None)
    if fault.what == "204":
        return bytes_reply(b"", None, 204)
    if fault.what == "redirect" and fault.url is not None:
        return redirect_reply(fault.url, fault.status or 302)
    if fault.what == "redirect-loop":
        return redirect_reply(base_url + REDIRECT_LOOP_PATH, fault.status or 302)
    return None


def change_reply(fault: Fault, reply: Reply) -> Reply:
    """
    Return the reply that a fault makes of the right one.

    :param fault: the fault
    :param reply: the reply of the request carried out
    """
    if fault.what == "endless":
        length = _ENDLESS_LENGTH if fault.framing == "length" else None
        return replace(reply, content=lambda: _repeat(reply), length=length, framing=fault.framing or "chunked")
    if fault.what in ("gzip", "gzip-cut"):
        reply = _compress(fault, reply)
    elif fault.framing is not None:
        reply = replace(reply, framing=fault.framing)
    return reply


def cut_position(fault: Fault, reply: Reply) -> int | None:
    """
    Return the bytes of body after which a fault acts while the body is sent; None when it acts on no
    position.

    :param fault: the fault
    :param reply: the reply that is sent
    """
    if fault.what == "truncate" and fault.after_bytes is None:
        return _UNKNOWN_LENGTH_CUT if reply.length is None else reply.length // 2
    return fault.after_bytes if fault.what in ("truncate", "reset", "stall", "drip") else None


def _repeat(reply: Reply) -> Iterator[bytes]:
    while True:
        empty = True
        for piece in reply.content():
            empty = empty and not piece
            yield piece
        if empty:
            yield b"\0"


def _compress(fault: Fault, reply: Reply) -> Reply:
    def pieces() -> Iterator[bytes]:
        gzip = zlib.compressobj(wbits=31)
        for piece in reply.content():
            yield gzip.compress(piece)
        yield gzip.flush()

    def cut() -> Iterator[bytes]:
        left = fault.after_bytes
        if left is None:
            left = sum(map(len, pieces())) // 2
        for piece in pieces():
            yield piece[:left]
            left -= min(left, len(piece))

    content = cut if fault.what == "gzip-cut" else pieces
    framing = fault.framing or "chunked"
    return replace(
        reply,
        content=content,
        length=sum(map(len, content())) if framing == "length" else None,
        framing=framing,
        headers=(*reply.headers, ("Content-Encoding", "gzip")),
    )
