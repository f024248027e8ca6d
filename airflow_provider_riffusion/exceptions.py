"""
The errors of this provider.

::

    RiffusionError
    ├── RiffusionConfigurationError *      a bad parameter, connection or storage path; also a ValueError
    ├── RiffusionConnectionError           no response: may_have_arrived
    ├── RiffusionApiError                  an error response, also a 404 that is not the API's own: http_status, code, …
    │   ├── RiffusionBadRequestError       400
    │   ├── RiffusionUnauthorizedError *   401, 403
    │   ├── RiffusionSubscriptionError *   402, 412
    │   ├── RiffusionNotFoundError         404, 410
    │   ├── RiffusionNotReadyError         409
    │   ├── RiffusionModerationError *     422, or is_flagged in the body
    │   ├── RiffusionRateLimitError        429
    │   ├── RiffusionPendingError *        596
    │   └── RiffusionServerError           another 5xx, or a status that HTTP does not define
    ├── RiffusionDownloadError             truncated, too slow, not audio: retry_after
    │   └── RiffusionTooLargeError *       more than max_bytes
    ├── RiffusionStorageError              the disk is full, or the store cannot be reached
    ├── RiffusionStemsError *              stems in an unknown shape: raw_path
    ├── RiffusionFileExistsError *         if_exists="fail", and the file exists
    ├── RiffusionSongFailedError *         a song ended failed
    ├── RiffusionTimeoutError              a deadline passed
    ├── RiffusionBatchError                songs of a batch were not stored: song_ids, manifest
    │   └── RiffusionBatchFailedError *    no retry can help any of them
    └── RiffusionCreateUncertainError *    nobody can tell what became of a create request

A class with a star is also an ``AirflowFailException``: Airflow fails the task at once, whatever its ``retries``,
because the same request cannot succeed. For the other classes the task's retries apply.
"""

from collections.abc import Sequence
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException


class RiffusionError(RuntimeError):
    """
    Base of every error that this provider raises on purpose.

    :param message: what happened and, if a human can fix it, how
    :param transient: whether the same request may succeed a moment later; the hook repeats only such GETs
    :param retry_after: seconds to wait before the next request, if the response has a Retry-After header
    """

    transient: bool = False
    retry_after: float | None = None

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        vars(self).update(fields)


class RiffusionConfigurationError(RiffusionError, ValueError, AirflowFailException):
    """A parameter, the connection or the storage path is wrong; the message names it."""


class RiffusionConnectionError(RiffusionError):
    """
    No response came: name resolution, connecting, TLS or waiting for the status line failed.

    :param message: what happened
    :param may_have_arrived: whether the server may have received the request
    :param transient: see :class:`RiffusionError`
    """

    may_have_arrived: bool = True


class RiffusionApiError(RiffusionError):
    """
    The API sent an error response.

    :param message: one line that says what happened, one that says what to do, and the API's words
    :param http_status: HTTP status of the response
    :param code: ``code`` in the error body, if it has one
    :param api_message: the API's own words
    :param request: method and path of the request, such as ``GET /v1/riffusion/music/download/``
    :param retry_after: see :class:`RiffusionError`
    :param transient: see :class:`RiffusionError`
    """

    # The name is not `status_code`, because AirflowException has a class attribute of that name that is always 500.
    http_status: int | None = None
    code: int | str | None = None
    api_message: str = ""
    request: str = ""


class RiffusionBadRequestError(RiffusionApiError):
    """HTTP 400: the API refused a parameter."""


class RiffusionNotFoundError(RiffusionApiError):
    """HTTP 404 or 410: the song, job or account is unknown or has expired."""


class RiffusionNotReadyError(RiffusionApiError):
    """HTTP 409: the song is not finished yet."""


class RiffusionRateLimitError(RiffusionApiError):
    """HTTP 429, or a ``Retry-After`` that asks for a longer pause than a task should sleep."""


class RiffusionServerError(RiffusionApiError):
    """A 5xx status other than 596, or a status that HTTP does not define."""


class RiffusionUnauthorizedError(RiffusionApiError, AirflowFailException):
    """HTTP 401 or 403: the API token is missing, wrong or not allowed to do this."""


class RiffusionSubscriptionError(RiffusionApiError, AirflowFailException):
    """HTTP 402 or 412: no subscription, or no credits left."""


class RiffusionModerationError(RiffusionApiError, AirflowFailException):
    """HTTP 422, or a response with ``is_flagged``: the prompt was moderated."""


class RiffusionPendingError(RiffusionApiError, AirflowFailException):
    """HTTP 596, "pending error": the account's cookie has expired, and only a human can post a fresh one."""


class RiffusionDownloadError(RiffusionError):
    """A body arrived truncated or too slowly, or is not what was requested; nothing was stored."""


class RiffusionTooLargeError(RiffusionDownloadError, AirflowFailException):
    """A body is larger than ``max_bytes``; nothing was stored."""


class RiffusionStorageError(RiffusionError):
    """The storage failed: no space is left, or the store cannot be reached."""


class RiffusionStemsError(RiffusionError, AirflowFailException):
    """
    The stems JSON has a shape that this provider does not know.

    :param message: what the document looks like
    :param raw_path: path of the file that keeps the document
    """

    raw_path: str | None = None


class RiffusionFileExistsError(RiffusionError, AirflowFailException):
    """The file exists already, and ``if_exists`` is ``fail``."""


class RiffusionSongFailedError(RiffusionError, AirflowFailException):
    """The song's status says that it failed."""


class RiffusionTimeoutError(RiffusionError):
    """
    A deadline passed while waiting for songs.

    :param message: what was waited for, and what was seen last
    :param usable: the songs that are finished, each as a :class:`SongSummary`
    :param is_running: whether the API showed a song that still runs, or listed a job that has shown no song yet
    """

    usable: Sequence[Any] = ()
    is_running: bool = False


class RiffusionBatchError(RiffusionError):
    """
    Some songs of a batch were not stored; the next try fetches only these.

    :param message: how many, what to do, and the errors of the first
    :param song_ids: ids of the songs that failed
    :param manifest: path or URL of the list of the songs that are there; None when there is none
    """

    song_ids: Sequence[str] = ()
    manifest: str | None = None


class RiffusionBatchFailedError(RiffusionBatchError, AirflowFailException):
    """Some songs of a batch were not stored, and no retry can help any of them."""


class RiffusionCreateUncertainError(RiffusionError, AirflowFailException):
    """A create request was sent, and a retry could not tell what became of it, so that it could pay twice."""
