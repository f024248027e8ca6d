"""Airflow metrics: what waiting and creating cost, in Airflow's own StatsD or OpenTelemetry."""

import socket

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_riffusion.exceptions import RiffusionRateLimitError


def count_poll(outcome: object) -> None:
    """
    Count a poll, and whether it failed; a poll for all that wait in a triggerer counts once.

    :param outcome: what the poll has shown, or the error for which it failed
    """
    Stats.incr("riffusion.polls")
    if isinstance(outcome, Exception):
        Stats.incr("riffusion.polls_failed")
    if isinstance(outcome, RiffusionRateLimitError):
        Stats.incr("riffusion.polls_rate_limited")


def count_create() -> None:
    """Count a create request that is about to be sent."""
    Stats.incr("riffusion.creates_sent")


def gauge_waiting(handles: int) -> None:
    """
    Tell how many songs and jobs this triggerer waits for.

    :param handles: the number
    """
    # The host is a part of the name, as in Airflow's triggers.running, because plain StatsD has no tags.
    Stats.gauge(f"riffusion.songs_waiting.{socket.gethostname()}", handles)
