"""Serves parts of a response (RFC 9110, 14), and lies about them on order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from airflow_provider_riffusion.emulator.server.request import Request
from airflow_provider_riffusion.emulator.server.response import Response

#: Faults that act on a response that comes in ranges, that is, one with an ETag; they leave any other alone.
RANGE_FAULTS = {
    "new-version": "serves another version of the file, as long as the right one, under an ETag of its own",
    "ignored-if-range": "is ``new-version``, and sends its range although If-Range names the right one",
    "range-etag": "sends a range under another ETag",
    "range-start": "sends a range that starts elsewhere, and says so",
    "range-total": "sends a range, and says that the whole file has another length",
    "range-short": "sends a range of half the bytes in good HTTP form, and says that it is all that was asked for",
    "range-nameless": "sends a range without a Content-Range",
    "range-multipart": "sends a range as multipart/byteranges with one part",
    "range-ignored": "answers a range with 200 and the whole file",
    "range-416": "answers a range with 416",
    "unasked-206": "sends half of the file with status 206, whatever was asked for",
    "weak-etag": "gives the file a weak ETag",
}

_NEW_VERSION_FAULTS = ("new-version", "ignored-if-range")
_FROM = re.compile(r"bytes=(\d+)-(\d*)", re.ASCII)
_BOUNDARY = "THIS_STRING_SEPARATES"


def wants_new_version(fault: str | None) -> bool:
    """Return whether a fault wants another version of a file."""
    return fault in _NEW_VERSION_FAULTS


def ranged(request: Request, response: Response, fault: str | None) -> Response:
    """
    Return the range of a response that a request asks for, or the whole response where it asks for none.

    :param request: the request
    :param response: the response to the same request without a range; only one with an ETag comes in ranges
    :param fault: one of :data:`RANGE_FAULTS`; None, or any other: the answer is right
    """
    etag, length = response.headers.get("ETag"), response.length
    if etag is None or length is None or response.status != 200 or request.method != "GET":
        return response
    if fault == "weak-etag":
        return replace(response, headers={**response.headers, "ETag": f"W/{etag}"})
    if fault == "unasked-206":
        return _part(response, 0, length // 2)
    asked = _FROM.fullmatch(request.range or "")
    is_same = request.if_range in (None, etag) or fault == "ignored-if-range"
    if asked is None or not is_same or fault == "range-ignored":
        return response
    start, end = int(asked[1]), min(int(asked[2] or length - 1) + 1, length)
    if start >= end or fault == "range-416":
        return Response(416, headers={"Content-Range": f"bytes */{length}"})
    return _with_lie(_part(response, start, end), response, start, end, fault)


def _with_lie(part: Response, whole: Response, start: int, end: int, fault: str | None) -> Response:
    headers = dict(part.headers)
    match fault:
        case "range-start":
            return _part(whole, start // 2, end)
        case "range-short":
            return replace(_part(whole, start, (start + end) // 2), headers=headers)
        case "range-etag":
            headers["ETag"] = headers["ETag"][::-1]
        case "range-total":
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{end + 1}"
        case "range-nameless":
            del headers["Content-Range"]
        case "range-multipart":
            head = f"--{_BOUNDARY}\r\nContent-Range: {headers['Content-Range']}\r\n\r\n".encode()
            tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
            # Some servers leave it in the head, which RFC 9110 (15.3.7.2) forbids.
            content_type = f"multipart/byteranges; boundary={_BOUNDARY}"
            length = len(head) + end - start + len(tail)
            return replace(
                part, content=lambda: (head, *part.content(), tail), length=length, content_type=content_type
            )
    return replace(part, headers=headers)


def _part(response: Response, start: int, end: int) -> Response:
    content_range = f"bytes {start}-{end - 1}/{response.length}"
    return replace(
        response,
        status=206,
        content=partial(_cut, response, start, end),
        length=end - start,
        headers={**response.headers, "Content-Range": content_range},
    )


def _cut(response: Response, start: int, end: int) -> Iterator[bytes]:
    position = 0
    for piece in response.content():
        if position >= end:
            return
        cut = piece[max(0, start - position) : end - position]
        position += len(piece)
        if cut:
            yield cut
