"""What can go wrong, which requests it hits, and how it changes a response."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

from airflow_provider_riffusion.emulator.server.ranges import RANGE_FAULTS
from airflow_provider_riffusion.emulator.server.request import Request, path_matches
from airflow_provider_riffusion.emulator.server.response import (
    ERROR_BODIES,
    FRAMINGS,
    Response,
    error_response,
    json_response,
    reason_phrase,
)

#: The faults and what each does; the words in double backquotes are fields of :class:`Fault`.
FAULTS = {
    "status": "answers ``status``; the request is not carried out, unless ``carried_out`` says so",
    "reset": "resets the connection (RST) before the head, or after ``after_bytes`` of body",
    "truncate": "closes the connection after ``after_bytes`` of body",
    "stall": "silent for ``seconds`` before the head, or after ``after_bytes`` of body, then goes on",
    "drip": "sends ``bytes_per_second``, the first ``after_bytes`` of body at full speed",
    "gzip": "compresses the body",
    "gzip-cut": "ends the compressed stream after ``after_bytes``, in good HTTP form",
    "json-error": "answers 200 with the JSON of an error",
    "html": "answers 200 with an HTML page",
    "empty": "answers 200 with no body",
    "204": "answers 204",
    "redirect": "redirects to ``url``",
    "redirect-loop": "redirects to a page of this server that redirects to itself for ever",
    "wrong-format": "sends mp3 where wav was asked and the reverse",
    "endless": "repeats the body for ever",
    "lost-reply": "carries the request out and closes the connection without a response",
    **RANGE_FAULTS,
}
REDIRECT_LOOP_PATH = "/files/redirect-loop"

_ENDLESS_BYTES = 2**40
_UNKNOWN_LENGTH_CUT_BYTES = 1_000


@dataclass(frozen=True)
class Fault:
    """
    Something that goes wrong, and the requests that it hits. Of several faults that match, the oldest hits.

    :param what: one of :data:`FAULTS`, which says what each does
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
    :param carried_out: for faults that answer something else: whether the request is carried out first
    :param after_bytes: bytes of body before the fault; None for ``truncate`` and ``gzip-cut``: half of the
        body
    :param seconds: for ``stall``; None: until the emulator stops
    :param bytes_per_second: for ``drip``
    :param url: for ``redirect``, value of the ``Location`` header, any scheme
    :param framing: how the end of the body is told: ``length`` (Content-Length; 1 TiB for ``endless``),
        ``chunked``, ``close`` (neither); None: as in the response, ``chunked`` for ``gzip`` and ``endless``
    """

    what: str
    times: int | None = None
    path: str | None = None
    song_id: str | None = None
    method: str | None = None
    status: int | None = None
    body: str = "json"
    message: str | None = None
    retry_after: str | float | None = None
    carried_out: bool = False
    after_bytes: int | None = None
    seconds: float | None = None
    bytes_per_second: float | None = None
    url: str | None = None
    framing: str | None = None

    def __post_init__(self) -> None:
        faults, bodies, framings = ", ".join(FAULTS), ", ".join(ERROR_BODIES), ", ".join(FRAMINGS)
        problems = (
            (self.what not in FAULTS, f"what is one of {faults}, not {self.what!r}"),
            (self.what == "status" and self.status is None, "the fault status needs a status"),
            (self.status is not None and not 200 <= self.status <= 999, f"status is 200 to 999, not {self.status}"),
            (self.what == "redirect" and self.url is None, "the fault redirect needs a url"),
            (self.what == "drip" and (self.bytes_per_second or 0) <= 0, "drip needs bytes_per_second above 0"),
            (self.times is not None and self.times < 1, f"times is 1 or more, not {self.times}"),
            ((self.after_bytes or 0) < 0, f"after_bytes is 0 or more, not {self.after_bytes}"),
            (self.body not in ERROR_BODIES, f"body is one of {bodies}, not {self.body!r}"),
            (self.framing not in (None, *FRAMINGS), f"framing is one of {framings}, not {self.framing!r}"),
            (re.search(r"[\r\n]", f"{self.retry_after}{self.url}"), "a header value has no line breaks"),
        )
        for is_wrong, problem in problems:
            if is_wrong:
                raise ValueError(problem)

    def matches(self, request: Request) -> bool:
        """Return whether the fault is meant for a request."""
        return (
            path_matches(request.path, self.path)
            and self.song_id in (None, request.song_id)
            and (self.method is None or self.method.upper() == request.method)
        )

    def position(self, length: int | None) -> int | None:
        """
        Return the bytes of body after which the fault acts; None when it acts elsewhere.

        :param length: bytes of the body; None: unknown
        """
        if self.what == "truncate" and self.after_bytes is None:
            return _UNKNOWN_LENGTH_CUT_BYTES if length is None else length // 2
        return self.after_bytes if self.what in ("truncate", "reset", "stall", "drip") else None


_EXAMPLE = '{"what": "drip"}'
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("times", "status", "after_bytes"), int),
    **dict.fromkeys(("seconds", "bytes_per_second"), float),
    "carried_out": {"true": True, "false": False}.__getitem__,
}


def fault_from_mapping(values: Mapping[str, Any]) -> Fault:
    """
    Make a fault from JSON or from the words of a command line; ValueError says what is wrong.

    :param values: the fields of :class:`Fault`; without ``what``, a ``status`` says it
    """
    unknown = values.keys() - {field.name for field in fields(Fault)}
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}; its kind is such as {_EXAMPLE}")
    converted: dict[str, Any] = {"what": "status"} if "status" in values else {}
    converted.update(values)
    if "what" not in converted:
        raise ValueError(f"what is missing, such as {_EXAMPLE}; it is one of {', '.join(FAULTS)}")
    for name, value in values.items():
        if value is not None and not isinstance(value, bool):
            try:
                converted[name] = _CONVERSIONS.get(name, str)(value)
            except (TypeError, ValueError, KeyError):
                kind = "true or false" if name == "carried_out" else "a number"
                raise ValueError(f"{name} is {kind}, not {value!r}") from None
    return Fault(**converted)


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
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Put a fault in force."""
        with self._lock:
            self._faults.append(fault)

    def take(self, request: Request) -> Fault | None:
        """Return the fault that hits a request and use up one of its times; None when none does."""
        with self._lock:
            for number, fault in enumerate(self._faults):
                if fault.matches(request):
                    if fault.times == 1:
                        del self._faults[number]
                    elif fault.times is not None:
                        self._faults[number] = replace(fault, times=fault.times - 1)
                    return fault
        return None

    def snapshot(self) -> list[dict[str, Any]]:
        """Return the faults in force as JSON, each with the times that are left."""
        with self._lock:
            faults = [asdict(fault) for fault in self._faults]
        return [{name: value for name, value in fault.items() if value is not None} for fault in faults]

    def clear(self) -> None:
        """Lift all faults."""
        with self._lock:
            self._faults.clear()


def response_instead(fault: Fault, base_url: str, messages: Mapping[int, str]) -> Response | None:
    """
    Return the response that a fault gives in place of carrying a request out; None when it gives none.

    :param fault: the fault
    :param base_url: this server's base URL
    :param messages: texts of errors by HTTP status, where the API has its own
    """
    match fault.what:
        case "status":
            status = fault.status or 200
            message = fault.message or messages.get(status) or reason_phrase(status)
            return error_response(status, message, body=fault.body, retry_after=fault.retry_after)
        case "json-error":
            return json_response({"error": fault.message or "Upstream error"})
        case "html" | "empty":
            return error_response(200, "", body=fault.what)
        case "204":
            return Response(204)
        case "redirect" | "redirect-loop":
            url = fault.url if fault.what == "redirect" else base_url + REDIRECT_LOOP_PATH
            return Response(fault.status or 302, headers={"Location": url or ""})
    return None


def changed_response(fault: Fault, response: Response) -> Response:
    """Return what a fault makes of the right response."""
    framing = fault.framing or "chunked"
    if fault.what == "endless":
        length = _ENDLESS_BYTES if framing == "length" else None
        pieces = partial(iter, lambda: response.to_bytes() or b"\0", None)
        return replace(response, content=pieces, length=length, framing=framing)
    if fault.what in ("gzip", "gzip-cut"):
        content = gzip.compress(response.to_bytes())
        if fault.what == "gzip-cut":
            content = content[: len(content) // 2 if fault.after_bytes is None else fault.after_bytes]
        headers = {**response.headers, "Content-Encoding": "gzip"}
        return replace(response, content=lambda: (content,), length=len(content), framing=framing, headers=headers)
    return replace(response, framing=fault.framing or response.framing)
