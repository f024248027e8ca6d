"""
What every cell is expected to be, written down from the documentation and not from the code.

A cell reads ``error, requests, end``. Before the slash stands what happens when the fault lasts, behind it what happens
when it strikes once and the next request is good; without a slash both are the same. ``requests`` counts those that
reach a server, or attempts to connect where none can. The rules:

* A GET that may succeed a moment later is sent five times; one that cannot is sent once. The connection test asks once.
* A create request that cannot have been carried out is sent again until the timeout when no slot was free or nobody
  could be reached. Another is sent once. Unless the API clearly refused it, its job is looked for in the vendor's job
  list, until that can be read or the timeout has passed; when three looks find nothing, nobody can tell, and the
  library is read for candidates.
* A sensor polls until its timeout as long as polls fail for network reasons.
* Where it is deferred, the first request is for a page of songs. When only that may be at fault, the job list is read
  and the song is asked for alone, two more requests, so that what strikes once strikes a page that is not needed.
* What only a human can mend ends the task at once.
* A host that a response named is not the API: an error from it is a failed download, and says nothing of the account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.programs.fault_matrix.cells import Cell, Key

_UNCERTAIN = "CreateUncertain, 5, at once"
_WAITS = "SensorTimeout, polls on, at once / ok, 2"


@dataclass(frozen=True)
class Rule:
    """
    A row of expectations.

    :param get: mp3, wav, stems as base64, the list, and the connection test, which returns what the others raise
    :param poll: the three ways to wait, and the account gate
    :param stem: a stem by URL: the response that names it is good, and the fetch of the one file is struck
    :param create: a create request
    :param others: by operation, what differs from these
    """

    get: str
    poll: str
    stem: str
    create: str
    others: Mapping[str, str] = field(default_factory=dict)


def _alone(error: str, end: str) -> dict[str, str]:
    """Where the page may be at fault, a deferred wait ends with what the song itself is answered with."""
    return {"deferrable": f"{error}, {end} / ok, 3"}


def _fatal(error: str, end: str = "at once", **others: str) -> Rule:
    """Repeating is of no use, and the API has clearly refused a create request."""
    cell = f"{error}, 1, {end}"
    return Rule(cell, cell, "Download, 2, retried", cell, others)


def _transient(error: str, create: str, *, stem: str | None = None) -> Rule:
    """May be gone a moment later."""
    cell = f"{error}, 5, retried / ok, 2"
    return Rule(cell, _WAITS, f"{stem or error}, 6, retried / ok, 3", create)


def _unusable(create_once: str) -> Rule:
    """Arrived whole, and is nothing of use: not repeated, but a sensor looks again."""
    return Rule(
        "Download, 1, retried",
        _WAITS,
        "Download, 2, retried",
        f"Download, polls on, retried / {create_once}",
    )


_WAITING = ("poke", "reschedule", "deferrable")
_SENSORS_WAIT = {**dict.fromkeys(_WAITING, _WAITS), **_alone("SensorTimeout", "polls on, at once")}
_NO_ACCOUNT = {"gate": "Configuration, 1, at once"}

_UNAUTHORIZED = _fatal("Unauthorized")
_SUBSCRIPTION = _fatal("Subscription")
_NOT_FOUND = _fatal("NotFound", "retried", **_SENSORS_WAIT, **_NO_ACCOUNT)
# A 409 makes no sense as the response to a create request, so it is no clear refusal.
_NOT_READY = Rule(
    "NotReady, 1, retried",
    "NotReady, 1, retried",
    "Download, 2, retried",
    f"NotReady, polls on, retried / {_UNCERTAIN}",
    _SENSORS_WAIT,
)
_RATE_LIMIT = _transient("RateLimit", "RateLimit, polls on, retried / ok, 2", stem="Download")
# Longer than a task should sleep.
_TOO_LONG = Rule("RateLimit, 1, retried", _WAITS, "Download, 2, retried", "RateLimit, polls on, retried / ok, 2")
_SERVER = _transient("Server", f"Server, polls on, retried / {_UNCERTAIN}", stem="Download")
_API_ALONE = _alone("Api", "3, retried")
_UNKNOWN = Rule(
    "Api, 1, retried",
    "Api, 1, retried",
    "Download, 2, retried",
    f"Api, polls on, retried / {_UNCERTAIN}",
    _API_ALONE,
)

# Nothing was sent, so the create request is sent again.
_UNSENT = _transient("Connection", "Connection, polls on, retried / ok, 2")
# The create request arrived and was carried out: the vendor's job list shows it.
_NO_ANSWER = _transient("Connection", "Connection, polls on, retried / ok, 2")
_BROKEN = _transient("Download", "Download, polls on, retried / ok, 2")
_TOO_LARGE = Rule(
    "TooLarge, 1, at once",
    "TooLarge, 1, at once",
    "TooLarge, 2, at once",
    "TooLarge, 2, at once / ok, 2",
    _alone("TooLarge", "3, at once"),
)
_FINE = Rule("ok, 1", "ok, 1", "ok, 2", "ok, 1")
_OTHER_SHAPE = Rule(
    "Api, 1, retried",
    "Api, 1, retried",
    "Download, 2, retried",
    "Api, polls on, retried / ok, 2",
    {"stems": "Stems, 1, at once", **_API_ALONE},
)

EXPECTED: Mapping[str, Rule] = {
    # HTTP statuses
    "596": _fatal("Pending"),
    "596, as HTML": _fatal("Pending"),
    "400": _fatal("BadRequest", "retried", **_alone("BadRequest", "3, retried")),
    "401": _UNAUTHORIZED,
    "402": _SUBSCRIPTION,
    "403": _UNAUTHORIZED,
    "404": _NOT_FOUND,
    "409": _NOT_READY,
    "410": _NOT_FOUND,
    "412": _SUBSCRIPTION,
    "422": _fatal("Moderation"),
    "429": _RATE_LIMIT,
    "429, Retry-After: 3": _RATE_LIMIT,
    "429, Retry-After: a date in a minute": _RATE_LIMIT,
    "429, Retry-After: a day": _TOO_LONG,
    "429, Retry-After: a date in 20 years": _TOO_LONG,
    "429, Retry-After: inf": _TOO_LONG,
    "429, Retry-After: -5": _RATE_LIMIT,
    "429, Retry-After: soon": _RATE_LIMIT,
    "429, Retry-After: nan": _RATE_LIMIT,
    "500": _SERVER,
    "502": _SERVER,
    "503": _SERVER,
    "504": _SERVER,
    "503, Retry-After: 3": _SERVER,
    "299, unknown": _UNKNOWN,
    "799, unknown": Rule(
        "Server, 1, retried",
        "Server, 1, retried",
        "Download, 2, retried",
        f"Server, polls on, retried / {_UNCERTAIN}",
        _alone("Server", "3, retried"),
    ),
    # No response
    "connection refused": _UNSENT,
    "no such host (DNS)": _UNSENT,
    "TLS: unknown authority": Rule(
        "Connection, 1, retried",
        _WAITS,
        "Connection, 2, retried",
        "Connection, 1, retried",
    ),
    "TLS: the server speaks none": _UNSENT,
    "reset before the response": _NO_ANSWER,
    "closed without a response": _NO_ANSWER,
    "silence instead of a response": _NO_ANSWER,
    "a response that is no HTTP": _NO_ANSWER,
    # The body of the response
    "reset in the body": _BROKEN,
    "cut short of Content-Length": _BROKEN,
    "cut in its chunks": _BROKEN,
    "cut, no length, no chunks": _BROKEN,
    "gzip stream cut": _BROKEN,
    "silence in the body": _BROKEN,
    "a drip of 100 bytes/s": _BROKEN,
    "nonsense for chunks": _BROKEN,
    "gzip bomb": _TOO_LARGE,
    "endless": _TOO_LARGE,
    "Content-Length of 1 TB": _TOO_LARGE,
    "Content-Length too small": _BROKEN,
    "no Content-Length": _FINE,
    "wrong Content-Type": _FINE,
    "no Content-Type": _FINE,
    # Other content
    "JSON with an error": _UNKNOWN,
    "HTML": _unusable(_UNCERTAIN),
    "nothing": _transient("Download", f"Download, polls on, retried / {_UNCERTAIN}"),
    # To a create request, a status like 200; only the body is missing.
    "204": _UNKNOWN,
    "JSON with the words of a 596": _fatal("Pending"),
    "JSON of another shape": _OTHER_SHAPE,
    "JSON, 200,000 levels deep": _unusable("ok, 2"),
    # For a stem's file it is no audio, and not read to its end.
    "JSON of 64 MB": Rule(
        "TooLarge, 1, at once",
        "TooLarge, 1, at once",
        "Download, 2, retried",
        "TooLarge, 2, at once / ok, 2",
        _alone("TooLarge", "3, at once"),
    ),
    # Looks like damage on the way. A stems document holds only ASCII that matters, and is read all the same.
    "JSON that is no UTF-8": Rule(
        "Download, 5, retried / ok, 2",
        _WAITS,
        "",
        "Download, polls on, retried / ok, 2",
        {**dict.fromkeys(("mp3", "wav"), "Download, 5, retried / ok, 3"), "stems": "ok, 1"},
    ),
    "JSON with NaN and Infinity": Rule("ok, 1", "ok, 1", "", "ok, 1", dict.fromkeys(("mp3", "wav"), "ok, 2")),
    # The worst of all fields and types; fields that are of no use here may hold anything.
    "a wrong type in any field (the worst)": Rule(
        "Api, 1, retried",
        "SensorTimeout, polls on, at once / Api, 1, retried",
        "",
        f"{_UNCERTAIN} / ok, 2",
        {
            **dict.fromkeys(("mp3", "wav"), "Api or Download, 1, retried"),
            "stems": "Stems, 1, at once",
            **_NO_ACCOUNT,
            **_alone("SensorTimeout", "polls on, at once"),
        },
    ),
    # Redirects; that of a create request is not followed, and is no clear refusal
    "to itself": Rule(
        "Download, 6, retried / ok, 2",
        _WAITS,
        "Download, 7, retried / ok, 3",
        "Download, polls on, retried / ok, 2",
        {"test": "not ok, 6 / ok, 2"},
    ),
    "to audio on another server": Rule(
        "Download, 2, retried",
        "SensorTimeout, polls on, at once / ok, 3",
        "ok, 3",
        "Download, polls on, retried / ok, 2",
        dict.fromkeys(("mp3", "wav"), "ok, 2"),
    ),
    "to a file: URL": _unusable(_UNCERTAIN),
    "from elsewhere to this machine": _unusable("ok, 2"),
    "301 without a Location": Rule(
        "Api, 1, retried", "Api, 1, retried", "Download, 2, retried", "Api, polls on, retried / ok, 2", _API_ALONE
    ),
    # Responses that quote the API token: as the same without it
    "401 with the token": _UNAUTHORIZED,
    "500 with the token": _transient("Server", "Server, polls on, retried / ok, 2", stem="Download"),
    "200 with the token in an error": Rule(
        "Api, 1, retried", "Api, 1, retried", "Download, 2, retried", "Api, polls on, retried / ok, 2", _API_ALONE
    ),
    "200 with nothing but the token": _unusable("ok, 2"),
    "unknown stems with the token": _OTHER_SHAPE,
    "good response with the token": _FINE,
    "no HTTP but the token": _NO_ANSWER,
    "the token for chunks": _BROKEN,
    "the token for an encoding": _unusable("ok, 2"),
    "redirect to a path with the token": _unusable("ok, 2"),
    "redirect elsewhere with the token": _unusable("ok, 2"),
    "redirect to ftp: with the token": _unusable("ok, 2"),
}

#: Shortest and longest pause, where the hook waits as long as the API asks; by row.
_ASKED = {
    "429, Retry-After: 3": (3.0, 4.0),
    "503, Retry-After: 3": (3.0, 4.0),
    "429, Retry-After: a date in a minute": (45.0, 61.0),
}


def expected(fault: str, operation: str, *, once: bool) -> str | None:
    """Return what a cell is expected to read; None when nobody has said."""
    rule = EXPECTED.get(fault)
    if rule is None:
        return None
    kinds = {"urls": rule.stem, "create": rule.create, **dict.fromkeys((*_WAITING, "gate"), rule.poll)}
    cell = rule.others.get(operation, kinds.get(operation, rule.get))
    lasting, slash, striking_once = cell.partition(" / ")
    if operation == "test" and not lasting.startswith(("ok", "not ok")):
        return f"not ok, {lasting.split(', ')[1].replace('5', '1')}"
    cell = striking_once if once and slash else lasting
    return cell or None


def expected_cell(key: Key) -> Cell:
    """Return what is expected of a cell, as a run would note it."""
    outcome, requests, *end = str(expected(key.fault, key.operation, once=key.once)).split(", ")
    pause = expected_pause(key.fault, key.operation, once=key.once)
    count = None if requests == "polls on" else int(requests)
    storage = expected_storage(key.operation, outcome)
    return Cell(outcome, count, "".join(end), storage, pause[0] if pause else None)


def expected_pause(fault: str, operation: str, *, once: bool) -> tuple[float, float] | None:
    """Return between how many seconds the shortest pause lies that the API has asked for; None: there is none."""
    return _ASKED.get(fault) if operation in ("mp3", "wav", "stems", "urls", "list") else None


def expected_storage(operation: str, cell: str) -> str:
    """Return what is stored after a cell."""
    if operation not in ("mp3", "wav", "stems", "urls"):
        return ""
    if cell.startswith("ok"):
        return "new"
    return "old, and the unknown response" if cell.startswith("Stems") else "old"


def differences(key: Key, cell: Cell) -> list[str]:
    """Say in which ways a cell is not what is expected."""
    wanted = expected(key.fault, key.operation, once=key.once)
    if wanted is None:
        return ["nobody has said what to expect"]
    found = list(cell.problems)
    if str(cell) != wanted:
        found.append(f"expected {wanted!r}, got {str(cell)!r}")
    storage = expected_storage(key.operation, wanted)
    if cell.storage != storage:
        found.append(f"expected in the storage: {storage!r}, found: {cell.storage!r}")
    pause = expected_pause(key.fault, key.operation, once=key.once)
    if (pause is None) != (cell.pause is None) or (pause and cell.pause and not pause[0] <= cell.pause <= pause[1]):
        found.append(f"expected a pause of {pause} s, got {cell.pause}")
    return found


#: Faults that differ from another one in nothing but a number, which unit tests cover.
ALIASES: Mapping[str, str] = {
    "403": "401",
    "412": "402",
    "410": "404",
    **dict.fromkeys(("502", "503", "504"), "500"),
    **dict.fromkeys(("429, Retry-After: -5", "429, Retry-After: soon", "429, Retry-After: nan"), "429"),
    **dict.fromkeys(("429, Retry-After: a date in 20 years", "429, Retry-After: inf"), "429, Retry-After: a day"),
}

#: Cells that are not run, and why.
NOT_APPLICABLE: Mapping[tuple[str, str], str] = {
    (fault, "urls"): "the file of a stem is audio, not JSON"
    for fault in ("JSON that is no UTF-8", "JSON with NaN and Infinity", "a wrong type in any field (the worst)")
}
