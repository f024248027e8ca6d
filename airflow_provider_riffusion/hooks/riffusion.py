"""The hook: from an Airflow connection to songs and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_riffusion.exceptions import (
    RiffusionConfigurationError,
    RiffusionNotFoundError,
    RiffusionNotReadyError,
)
from airflow_provider_riffusion.get_provider_info import get_provider_info
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.safe_text import shown_value
from airflow_provider_riffusion.transport.client import Client, Reply
from airflow_provider_riffusion.transport.retry import ATTEMPTS
from airflow_provider_riffusion.useapi.client import MAX_JSON_BYTES, parse_json, raise_for_status
from airflow_provider_riffusion.useapi.download import DownloadedFile, download_audio, download_stems
from airflow_provider_riffusion.useapi.riffusion import creation
from airflow_provider_riffusion.useapi.riffusion import requests as api_requests
from airflow_provider_riffusion.useapi.riffusion import responses as api
from airflow_provider_riffusion.useapi.riffusion.requests import Request

DEFAULT_MAX_BYTES = 2**31


class RiffusionHook(BaseHook):
    """
    Speak with the useapi.net Riffusion API v1.

    Every GET is repeated after connection errors, timeouts, broken transfers and the statuses 408, 429, 500, 502, 503
    and 504; never after HTTP 596, when only a human can mend the account.

    All methods raise these; each method names what it raises beyond them:

    * :class:`RiffusionConfigurationError`: the connection or a parameter is wrong, no request was sent
    * :class:`RiffusionConnectionError`: no reply came
    * :class:`RiffusionApiError` and its subclasses: the reply is an error
    * :class:`RiffusionDownloadError`: the reply did not arrive whole

    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    """

    conn_name_attr = "riffusion_conn_id"
    default_conn_name = "riffusion_default"
    conn_type = "riffusion"
    hook_name = "Riffusion"

    def __init__(self, riffusion_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.riffusion_conn_id = riffusion_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Tell Airflow 3.1 how its connection form looks; later versions read the provider info alone."""
        connection_type: dict[str, Any] = get_provider_info()["connection-types"][0]
        behaviour: dict[str, list[str] | dict[str, str]] = connection_type["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    @cached_property
    def settings(self) -> ConnectionSettings:
        """The connection, looked up once."""
        settings = ConnectionSettings.of(self.get_connection(self.riffusion_conn_id))
        # Airflow masks the password, which is only a part of a token that came as login:password.
        mask_secret(settings.token)
        return settings

    @cached_property
    def _client(self) -> Client:
        return Client(self.settings)

    def test_connection(self) -> tuple[bool, str]:
        """
        Test the connection, for the button of Airflow's form and ``airflow connections test``.

        :return: whether the token is good and no account is broken, and what was found
        """
        try:
            accounts = self.check_accounts()
        except Exception as error:
            return False, str(error)
        return True, f"The API token is good; healthy accounts: {', '.join(account.user_id for account in accounts)}"

    def check_accounts(self, *, user_id: str | None = None, attempts: int = ATTEMPTS) -> list[api.Account]:
        """
        Check that the account can be used, at the cost of one request; a gate before many downloads.

        :param user_id: account; by default the connection's, and all of them when it names none
        :param attempts: how often the request is sent at most
        :return: the accounts that were checked
        :raises RiffusionPendingError: an account is broken
        :raises RiffusionConfigurationError: there is no such account
        """
        user_id = self._user_id(user_id)
        accounts = [account for account in self.get_accounts(attempts=attempts) if user_id in (None, account.user_id)]
        if not accounts:
            missing = f"user_id is {user_id!r}, and no such account is" if user_id else "no Riffusion account is"
            raise RiffusionConfigurationError(
                f"The API token is good, but {missing} configured at useapi.net; see {api.ACCOUNTS_PAGE}."
            )
        if broken := [account for account in accounts if account.error is not None]:
            raise api.broken_accounts_error(broken)
        return accounts

    def get_accounts(self, *, attempts: int = ATTEMPTS) -> list[api.Account]:
        """
        List the accounts that are configured at useapi.net; a broken one has an ``error``.

        :param attempts: how often the request is sent at most
        """
        request = api_requests.accounts_request()
        try:
            return api.parse_accounts(self._get_json(request, attempts=attempts), request)
        except RiffusionNotFoundError as error:
            # The API says 404 when there is none; a 404 without an error body means another server.
            if error.code is None and not error.message:
                raise
            return []

    def list_songs(self, *, offset: int = 0, limit: int = 10, user_id: str | None = None) -> list[api.Song]:
        """
        List a page of the library, as the API orders it, which was newest first.

        :param offset: songs to leave out at the start
        :param limit: most songs to return
        :param user_id: account; by default the connection's
        """
        request = api_requests.songs_request(offset=offset, limit=limit, user_id=self._user_id(user_id))
        return api.parse_songs(self._get_json(request), request)

    def get_songs(self, song_or_job_id: str, *, user_id: str | None = None) -> list[api.Song]:
        """
        Get a song, or the songs of a job.

        :param song_or_job_id: id of either
        :param user_id: account; by default the connection's
        :raises RiffusionNotFoundError: the id is unknown
        """
        request = api_requests.songs_request(
            song_or_job_id=_checked_song_id(song_or_job_id), user_id=self._user_id(user_id)
        )
        return api.parse_songs(self._get_json(request), request)

    def poll_songs(self, ids: Sequence[str], *, user_id: str | None = None) -> list[list[api.Song]]:
        """
        Look once at songs that are waited for; a failure is not repeated, because the next poll is.

        :param ids: song or job ids
        :param user_id: account; by default the connection's
        :return: for each id its songs; none while the API does not show them yet
        """
        return [self._find_songs(song_or_job_id, user_id, attempts=1) for song_or_job_id in ids]

    def is_known(self, song_or_job_id: str, *, user_id: str | None = None) -> bool:
        """Tell whether the API shows songs for an id, or the scheduler runs it."""
        return bool(self._find_songs(song_or_job_id, user_id, attempts=ATTEMPTS)) or any(
            job.id == song_or_job_id for job in self.get_scheduler()
        )

    def _find_songs(self, song_or_job_id: str, user_id: str | None, *, attempts: int) -> list[api.Song]:
        request = api_requests.songs_request(
            song_or_job_id=_checked_song_id(song_or_job_id), user_id=self._user_id(user_id)
        )
        try:
            return api.parse_songs(self._get_json(request, attempts=attempts), request)
        except (RiffusionNotFoundError, RiffusionNotReadyError):
            return []

    def create_prompt(self, prompt: str, **parameters: Any) -> list[str]:
        """
        Start songs from one prompt. Sent once, whatever happens.

        :param prompt: what to play
        :param parameters: the others of :func:`creation.prompt_request`
        :return: ids that the reply named, song or job; none when its shape is unknown
        :raises RiffusionModerationError: the prompt was moderated
        """
        return self.create(creation.prompt_request(prompt=prompt, **self._with_user_id(parameters)))

    def create_compose(self, prompts: Sequence[creation.Prompt], **parameters: Any) -> list[str]:
        """
        Start songs from one to three prompts, and lyrics. Sent once, whatever happens.

        :param prompts: the prompts
        :param parameters: the others of :func:`creation.compose_request`
        :return: ids that the reply named, song or job; none when its shape is unknown
        :raises RiffusionModerationError: a prompt or the lyrics were moderated
        """
        return self.create(creation.compose_request(prompts=prompts, **self._with_user_id(parameters)))

    def create(self, request: Request, *, unless: Callable[[], bool] | None = None) -> list[str]:
        """
        Send a request of :mod:`creation`, once; see :meth:`create_prompt`.

        :param request: the request
        :param unless: is asked when the connection stands; when it says True, nothing is sent
        """
        return creation.parse_created(self._send_json(request, unless=unless), request)

    def generate_lyrics(self, prompt: str, *, lyrics: str | None = None, user_id: str | None = None) -> str:
        """
        Have lyrics written.

        :param prompt: what about
        :param lyrics: lyrics to go on from
        :param user_id: account; by default the connection's
        """
        request = api_requests.lyrics_request(prompt, lyrics, self._user_id(user_id))
        return api.parse_lyrics(self._send_json(request), request)

    def delete_song(self, song_id: str, *, user_id: str | None = None) -> bool:
        """
        Delete a song.

        :param song_id: id of the song
        :param user_id: account; by default the connection's
        :return: False when there was no such song
        """
        return self._delete(api_requests.delete_song_request(_checked_song_id(song_id), self._user_id(user_id)))

    def get_account(self, user_id: str) -> api.Account:
        """
        Get one account.

        :param user_id: the account
        :raises RiffusionNotFoundError: there is no such account
        """
        request = api_requests.accounts_request(user_id)
        return api.parse_account(self._get_json(request), request)

    def post_account(self, cookie: str, *, max_jobs: int = 3) -> api.Account:
        """
        Configure an account, or give a broken one a fresh cookie. The API takes each cookie only once.

        :param cookie: the cookie
        :param max_jobs: how many songs the account may generate at once, 1 to 10
        """
        request = api_requests.post_account_request(cookie, max_jobs)
        return api.parse_account(self._send_json(request), request)

    def get_scheduler(self) -> list[api.Job]:
        """List the jobs that run, of all accounts."""
        request = api_requests.scheduler_request()
        return api.parse_jobs(self._get_json(request), request)

    def get_available(self) -> list[api.Slots]:
        """List the slots for generations, of all accounts."""
        request = api_requests.available_request()
        return api.parse_available(self._get_json(request), request)

    def delete_job(self, job_id: str, *, timeout: float | None = None) -> bool:
        """
        Have the scheduler stop tracking a job.

        :param job_id: the job
        :param timeout: seconds; by default the connection's
        :return: False when the scheduler did not know it
        """
        return self._delete(api_requests.delete_job_request(job_id), timeout=timeout)

    def download(
        self,
        song_id: str,
        download_format: api.AudioFormatName,
        destination: str | os.PathLike[str],
        *,
        user_id: str | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> DownloadedFile:
        """
        Download a song's audio into a local file.

        :param song_id: id of the song
        :param download_format: ``mp3`` or ``wav``
        :param destination: the file; until the download is whole, what stands there stays as it is
        :param user_id: account; by default the connection's
        :param max_bytes: largest size in bytes that is accepted
        :raises RiffusionTooLargeError: the song is larger than ``max_bytes``
        """
        if download_format not in api.AUDIO_FORMATS:
            raise RiffusionConfigurationError(
                f"download_format is {download_format!r}; use one of {', '.join(api.AUDIO_FORMATS)}, or download_stems."
            )
        request = api_requests.download_request(_checked_song_id(song_id), download_format, self._user_id(user_id))
        return download_audio(self._client, request, api.AUDIO_FORMATS[download_format], Path(destination), max_bytes)

    def download_stems(
        self,
        song_id: str,
        directory: str | os.PathLike[str],
        *,
        user_id: str | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> list[DownloadedFile]:
        """
        Download a song's stems, one file each, into a local folder.

        :param song_id: id of the song
        :param directory: the folder; it is made when it is not there, and gets the files only when all are whole
        :param user_id: account; by default the connection's
        :param max_bytes: largest size in bytes, of all stems together, that is accepted
        :raises RiffusionStemsError: the reply has an unknown shape; it is kept as ``<song_id>.stems.unknown.json``
        :raises RiffusionTooLargeError: the stems are larger than ``max_bytes``
        """
        request = api_requests.download_request(_checked_song_id(song_id), api.STEMS, self._user_id(user_id))
        return download_stems(self._client, request, song_id, Path(directory), max_bytes)

    def _send_json(self, request: Request, *, unless: Callable[[], bool] | None = None) -> object:
        def parse(reply: Reply) -> object:
            if not 200 <= reply.status < 300:
                raise_for_status(reply, request)
            return parse_json(reply.read(max_bytes=MAX_JSON_BYTES), request)

        return self._client.send(request.method, request.path, parse, json=request.json, unless=unless)

    def _delete(self, request: Request, *, timeout: float | None = None) -> bool:
        def check(reply: Reply) -> None:
            if reply.status != 204:
                raise_for_status(reply, request)

        try:
            self._client.send(request.method, request.path, check, params=request.params, timeout=timeout)
        except RiffusionNotFoundError:
            return False
        return True

    def _get_json(self, request: Request, *, attempts: int = ATTEMPTS) -> object:
        def parse(reply: Reply) -> object:
            raise_for_status(reply, request)
            return parse_json(reply.read(max_bytes=MAX_JSON_BYTES), request)

        return self._client.get(request.path, parse, params=request.params, attempts=attempts)

    def _with_user_id(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return {**parameters, "user_id": self._user_id(parameters.get("user_id"))}

    def _user_id(self, user_id: str | None) -> str | None:
        return user_id or self.settings.user_id


def _checked_song_id(song_id: str) -> str:
    if not api.is_song_id(song_id):
        raise RiffusionConfigurationError(
            f"song_id is {shown_value(song_id)}; use letters, digits, '.', '_' and '-', at most 128."
        )
    return song_id
