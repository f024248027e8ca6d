"""When Airflow tries a task again that failed because the server asked for a pause. Needs Airflow 3.3."""

from datetime import timedelta
from typing import Any

from airflow_provider_riffusion.exceptions import RiffusionError

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError:
    raise ImportError(
        "RiffusionRetryPolicy needs Airflow 3.3 or newer, the first that has retry policies.\n"
        "Leave retry_policy out, and set the task's retries and retry_delay; all else works without the policy."
    ) from None

_MAX_DELAY = timedelta(days=1)


class RiffusionRetryPolicy(RetryPolicy):
    """
    Let the next try of a task start when the server said that it may.

    A failure whose response had a ``Retry-After`` header, such as a 429 or a 503, is tried again after that time,
    shorter or longer than the task's ``retry_delay``, but not later than after a day. Every other failure is tried
    again as the task is set. The task's ``retries`` stays the limit, and an error that is also an
    ``AirflowFailException``, such as a 596, fails the task at once: Airflow does not ask the policy then.

    .. code-block:: python

        RiffusionDownloadOperator(task_id="download", song_id="...", retries=5, retry_policy=RiffusionRetryPolicy())
    """

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """
        Decide about a failure, in the task's process.

        :param exception: what the task raised
        :param try_number: the try that failed, from 1
        :param max_tries: how often the task is tried again at most
        :param context: the task's context
        :return: a retry after the server's pause, or the default
        """
        if not isinstance(exception, RiffusionError) or exception.retry_after is None:
            return RetryDecision.default()
        # The header may say anything; a timedelta of the largest number would overflow.
        delay = timedelta(seconds=min(exception.retry_after, _MAX_DELAY.total_seconds()))
        return RetryDecision.retry(delay, f"The server asks to wait {exception.retry_after:.0f} s.")
