"""What the server asks of an API."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from airflow_provider_riffusion.emulator.server.request import Request
from airflow_provider_riffusion.emulator.server.response import Response


class Service(ABC):
    """
    An emulated API; its methods are called from many threads, and refuse with :class:`.RefusedError`.

    :param token: the token that requests must carry; the request log hides it
    :param messages: texts of errors by HTTP status, where the API has its own
    """

    token: str
    messages: Mapping[int, str]

    @abstractmethod
    def song_id(self, path: str, query: Mapping[str, str]) -> str | None:
        """Return the song or job that a request with this path and query is about; None when it is about none."""

    @abstractmethod
    def answer(self, request: Request) -> Response:
        """Carry a request out, or refuse it, also for want of the right token."""

    @abstractmethod
    def control(self, method: str, segments: list[str], body: Any) -> Response:
        """Carry out a control request of which the server does not know the segments behind its prefix."""

    @abstractmethod
    def reset(self) -> None:
        """Go back to the start."""
