"""Turn the errors of requests and urllib3 into those of this provider."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions

from airflow_provider_riffusion.exceptions import RiffusionConnectionError, RiffusionError
from airflow_provider_riffusion.safe_text import printable
from airflow_provider_riffusion.transport.watchdog import Watchdog

#: Generous, because the token is replaced after this cut, and half a token is not recognised.
_MAX_CAUSE_CHARS = 2**17
_REMEDY = "Check the network, and the host and proxies of the connection; then let Airflow retry."
_CERTIFICATE_REMEDY = "If the certificate's authority is yours, name its CA bundle in the connection's extra verify."


@contextmanager
def translated_errors(
    url: str, error_class: type[RiffusionError] = RiffusionConnectionError, watchdog: Watchdog | None = None
) -> Iterator[None]:
    """
    Turn the errors of requests and urllib3 into ours, without a cause, because the text of the original holds the URL.

    :param url: URL to name, safe to show
    :param error_class: class of the error
    :param watchdog: the watchdog of the exchange; what it cut is an error even if nothing was raised
    """
    try:
        yield
    # requests' exceptions are OSErrors; a socket that is shut down under a reader raises various others.
    except (OSError, urllib3.exceptions.HTTPError) as error:
        if watchdog is None or not watchdog.has_bitten:
            translated = _translated(error, url, error_class)
            if isinstance(translated, RiffusionConnectionError):
                translated.may_have_arrived = watchdog is not None and watchdog.has_connected
            raise translated from None
    # A body without a length looks whole when the watchdog cuts it.
    if watchdog is not None and watchdog.has_bitten:
        raise error_class(f"{url}: {watchdog.reason}", transient=True)


def _translated(error: Exception, url: str, error_class: type[RiffusionError]) -> RiffusionError:
    cause = _innermost(error)
    is_certificate = isinstance(cause, ssl.SSLCertVerificationError)
    # Both libraries raise a ValueError for a bad URL, and quote the URL in its text.
    is_url = isinstance(cause, ValueError) and not is_certificate
    remedy = _CERTIFICATE_REMEDY if is_certificate else _REMEDY
    shown = "" if is_url else f"\n{printable(str(cause), _MAX_CAUSE_CHARS)}"
    return error_class(
        f"{url} gave no whole response: {type(error).__name__}.\n{remedy}{shown}",
        # requests raises a plain OSError for a file, such as a missing CA bundle that the environment names.
        transient=not (is_url or is_certificate or type(error) is OSError),
    )


def _innermost(error: BaseException) -> BaseException:
    """Return the original error below the wrappers, whose texts hold the whole URL."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, Exception):
            inner = next((arg for arg in error.args if isinstance(arg, Exception)), None)
        if inner is None:
            return error
        error = inner
