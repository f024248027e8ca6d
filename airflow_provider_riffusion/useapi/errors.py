"""Turn an error response of the vendor into the error that tells what to do; this is where a 596 is decided."""

import json
from collections.abc import Mapping, Sequence

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import RiffusionApiError
from airflow_provider_riffusion.safe_text import printable
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.useapi.models import Account

ACCOUNTS_PAGE = "https://useapi.net/docs/api-riffusion-v1/post-riffusion-accounts"

PENDING_STATUS = 596
TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
#: An object with no other keys is an error.
ERROR_KEYS = frozenset({"error", "message", "code"})

_MAX_MESSAGE_CHARS = 500

_AUTHORIZE = "Check the API token, the password of the Airflow connection; then clear the failed tasks."
_RENEW = "Renew the useapi.net subscription, or the credits; then clear the failed tasks."
_CHECK_ID = "Check the song or job id, and that the user_id is the account that owns it."
_SLOW_DOWN = "Let Airflow retry later; let fewer tasks run at the same time, with an Airflow pool."
# The page has a line of its own: Airflow's log view shows about 80 characters of a line below an exception's name.
_REPAIR = f"Post a fresh cookie, then clear the failed tasks.\nHow to: {ACCOUNTS_PAGE}"
#: By status: the class, what is wrong, and what to do.
_ERRORS_BY_STATUS: Mapping[int, tuple[type[RiffusionApiError], str, str]] = {
    400: (exceptions.RiffusionBadRequestError, "The API refused the request", "Check the parameters of the task."),
    401: (exceptions.RiffusionUnauthorizedError, "The API refused the token", _AUTHORIZE),
    402: (exceptions.RiffusionSubscriptionError, "There is no useapi.net subscription, or it has expired", _RENEW),
    403: (exceptions.RiffusionUnauthorizedError, "The API token may not do this", _AUTHORIZE),
    404: (exceptions.RiffusionNotFoundError, "The API does not know the id", _CHECK_ID),
    409: (exceptions.RiffusionNotReadyError, "The song is not finished yet", "Wait for it before it is downloaded."),
    410: (exceptions.RiffusionNotFoundError, "The song has expired", "Leave it out: it cannot be downloaded any more."),
    412: (exceptions.RiffusionSubscriptionError, "The account has no credits left", _RENEW),
    422: (exceptions.RiffusionModerationError, "The prompt was moderated", "Change its text."),
    429: (exceptions.RiffusionRateLimitError, "Too many requests, or no free slot for a song", _SLOW_DOWN),
    PENDING_STATUS: (exceptions.RiffusionPendingError, "The Riffusion account{} is broken: pending error", _REPAIR),
}
_SERVER_ERROR = (exceptions.RiffusionServerError, "The server failed", "Let Airflow retry the task later.")
_OTHER_ERROR = (RiffusionApiError, "The API sent an error, or no result", "Look for the cause in the API's words.")


def error_of(
    http_status: int, body: bytes, request: Request, url: str = "", retry_after: float | None = None
) -> RiffusionApiError:
    """
    Return the error that an error response stands for.

    :param http_status: HTTP status of the response
    :param body: its body, or the start of it; may be JSON of any known shape, HTML or empty
    :param request: the request that was answered
    :param url: where the response came from, safe to show
    :param retry_after: seconds, from the Retry-After header
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        payload = body.decode("utf-8", "replace")[:_MAX_MESSAGE_CHARS]
    if http_status == 404 and not (isinstance(payload, dict) and payload.keys() & ERROR_KEYS):
        # A proxy's or another server's: taken for the API's, it would say that a song is not there.
        message = "Another server than the API answered (HTTP 404).\nCheck the base URL, the connection's host."
        message = f"{message}\n{url or request} was answered without an error of the API's form"
        return RiffusionApiError(message, http_status=404, request=str(request), retry_after=retry_after)
    return error_of_payload(http_status, payload, request, retry_after)


def error_of_payload(
    http_status: int, payload: object, request: Request, retry_after: float | None = None, user_id: str | None = None
) -> RiffusionApiError:
    """Return the error that an error response with a parsed body stands for; see :func:`error_of`."""
    code, api_message = _code(payload), _message(payload)
    # An error that comes with status 200 has its real status in the body, if anywhere.
    status = code if http_status == 200 and isinstance(code, int) else http_status
    error_class, wrong, remedy = _class_and_remedy(status, payload, api_message)
    if error_class is exceptions.RiffusionPendingError:
        # Callbacks test for this status, whichever way the API told it.
        http_status = status = PENDING_STATUS
    account = user_id or request.params.get("user_id")
    wrong = wrong.format(f" {_line(str(account))[:40]}" if account else "")
    return error_class(
        f"{wrong} (HTTP {http_status}).\n{remedy}\n{request} was answered: {api_message or '(no message)'}",
        http_status=http_status,
        code=code,
        api_message=api_message,
        request=str(request),
        retry_after=retry_after,
        transient=status in TRANSIENT_STATUSES and error_class is not exceptions.RiffusionModerationError,
    )


def error_in(payload: object, request: Request) -> RiffusionApiError | None:
    """Return the error in JSON that came with status 200, None when it is no error."""
    is_error = isinstance(payload, dict) and (
        payload.get("error") or payload.get("is_flagged") is True or (payload and payload.keys() <= ERROR_KEYS)
    )
    return error_of_payload(200, payload, request) if is_error else None


def unexpected(expected: str, payload: object, request: Request) -> RiffusionApiError:
    """Return the error in JSON that came with status 200, or that it is not what was expected."""
    names = {dict: "a JSON object", list: "a JSON array", str: "text", bool: "true or false", type(None): "null"}
    message = (
        f"The API's response is unknown (HTTP 200): expected {expected}, got {names.get(type(payload), 'a number')}.\n"
        f"Check that the host of the Airflow connection is the base URL of this API.\nThe request was {request}."
    )
    return error_in(payload, request) or RiffusionApiError(message, http_status=200, request=str(request))


def broken_accounts_error(accounts: Sequence[Account], request: Request) -> RiffusionApiError:
    """Return the error for accounts whose every request would be answered with HTTP 596."""
    error = "; ".join(f"{account.user_id}: {account.error}" for account in accounts)
    user_id = ", ".join(account.user_id for account in accounts)
    return error_of_payload(PENDING_STATUS, {"error": error}, request, user_id=user_id)


def text_of_error(error: object) -> str:
    """Return the words of an ``error`` or ``message`` field, whatever its type, as one short line."""
    if isinstance(error, dict):
        error = next((error[key] for key in ("message", "error", "code") if error.get(key)), error)
    try:
        return _line(error if isinstance(error, str) else "" if error is None else json.dumps(error))
    except RecursionError:
        return "(deeply nested JSON)"


def _class_and_remedy(status: int, payload: object, api_message: str) -> tuple[type[RiffusionApiError], str, str]:
    # The error of another request may quote a prompt, so the two words count only alone.
    if "account has pending error" in api_message.lower() or api_message.lower() == "pending error":
        status = PENDING_STATUS
    elif status != PENDING_STATUS and isinstance(payload, dict) and payload.get("is_flagged") is True:
        status = 422
    return _ERRORS_BY_STATUS.get(status, _OTHER_ERROR if 200 <= status < 500 else _SERVER_ERROR)


def _code(payload: object) -> int | str | None:
    """Return ``code`` of the body or of its ``error`` object: a number of up to three digits as int, or short text."""
    if not isinstance(payload, dict):
        return None
    error = payload.get("error")
    code = error.get("code", payload.get("code")) if isinstance(error, dict) else payload.get("code")
    if isinstance(code, str):
        return int(code) if code.isdecimal() and len(code) <= 3 else _line(code)
    return code if isinstance(code, int) else None


def _message(payload: object) -> str:
    if not isinstance(payload, dict):
        return text_of_error(payload)
    return next((text for key in ("error", "message", "reason") if (text := text_of_error(payload.get(key)))), "")


def _line(text: str) -> str:
    return printable(" ".join(text[:_MAX_MESSAGE_CHARS].split()), _MAX_MESSAGE_CHARS)
