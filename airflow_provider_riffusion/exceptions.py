"""
The errors of this provider.

A class that is also an ``AirflowFailException`` ends the task at once, whatever its ``retries``: repeating the
same request cannot help. The other classes leave the decision to the task's retries.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowFailException


class RiffusionError(RuntimeError):
    """
    Base of every error that this provider raises on purpose.

    :param message: what happened, and where a human can mend it, how
    :param transient: whether the same request may succeed a moment later; the hook repeats only such GETs
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class RiffusionConfigurationError(RiffusionError, ValueError, AirflowFailException):
    """A parameter, the connection or the storage path is wrong, and the message names it."""


class RiffusionConnectionError(RiffusionError):
    """
    No answer came: name resolution, connecting, TLS or waiting for the head of the reply failed.

    :param message: what happened
    :param may_have_arrived: whether the server may have received the request
    :param transient: see :class:`RiffusionError`
    """

    def __init__(self, message: str, *, may_have_arrived: bool = True, transient: bool = False) -> None:
        super().__init__(message, transient=transient)
        self.may_have_arrived = may_have_arrived


class RiffusionApiError(RiffusionError):
    """
    The API answered, and the answer is an error.

    :param message: what happened
    :param http_status: the HTTP status of the reply
    :param code: ``code`` of the error body, where it had one
    :param api_message: the API's own words
    :param request: method and path of the request, such as ``GET /v1/riffusion/music/download/``
    :param retry_after: seconds to wait before the next request, where the reply said so
    :param transient: see :class:`RiffusionError`
    """

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        code: int | str | None = None,
        api_message: str = "",
        request: str = "",
        retry_after: float | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(message, transient=transient)
        # Not `status_code`: AirflowException has a class attribute of that name, which is always 500.
        self.http_status = http_status
        self.code = code
        self.message = api_message
        self.request = request
        self.retry_after = retry_after


class RiffusionBadRequestError(RiffusionApiError):
    """HTTP 400: the API refused a parameter."""


class RiffusionNotFoundError(RiffusionApiError):
    """HTTP 404 or 410: the song, job or account is unknown or has expired."""


class RiffusionNotReadyError(RiffusionApiError):
    """HTTP 409: the song is not finished yet."""


class RiffusionRateLimitError(RiffusionApiError):
    """HTTP 429, or a ``Retry-After`` that asks for a longer pause than a task should sleep."""


class RiffusionServerError(RiffusionApiError):
    """A 5xx status other than 596, or a status that HTTP does not know."""


class RiffusionUnauthorizedError(RiffusionApiError, AirflowFailException):
    """HTTP 401 or 403: the API token is missing, wrong or not allowed to do this."""


class RiffusionSubscriptionError(RiffusionApiError, AirflowFailException):
    """HTTP 402 or 412: no subscription, or no credits left."""


class RiffusionModerationError(RiffusionApiError, AirflowFailException):
    """HTTP 422, or a reply with ``is_flagged``: the prompt was moderated."""


class RiffusionPendingError(RiffusionApiError, AirflowFailException):
    """HTTP 596, "pending error": the account's cookie has expired and only a human can post a fresh one."""


class RiffusionDownloadError(RiffusionError):
    """
    A body arrived truncated, too slowly, or is not what was asked for; nothing was stored.

    :param message: what happened
    :param retry_after: seconds to wait before the next request, where the host of the file said so
    :param transient: see :class:`RiffusionError`
    """

    def __init__(self, message: str, *, retry_after: float | None = None, transient: bool = False) -> None:
        super().__init__(message, transient=transient)
        self.retry_after = retry_after


class RiffusionTooLargeError(RiffusionDownloadError, AirflowFailException):
    """A body is larger than ``max_bytes``; nothing was stored."""


class RiffusionStorageError(RiffusionError):
    """The storage failed: no space is left, or the store cannot be reached."""


class RiffusionStemsError(RiffusionError, AirflowFailException):
    """
    The stems JSON has a shape that this provider does not know.

    :param message: what was found
    :param raw_path: where the reply was kept
    """

    def __init__(self, message: str, *, raw_path: str | None = None) -> None:
        super().__init__(message)
        self.raw_path = raw_path


class RiffusionFileExistsError(RiffusionError, AirflowFailException):
    """The file is there already, and ``if_exists="fail"`` was asked for."""


class RiffusionSongFailedError(RiffusionError, AirflowFailException):
    """The song's own status says that it failed."""


class RiffusionTimeoutError(RiffusionError):
    """A deadline passed while waiting for a song."""


class RiffusionCreateUncertainError(RiffusionError, AirflowFailException):
    """Nobody can tell whether a create request reached the API, so it is not sent again."""
