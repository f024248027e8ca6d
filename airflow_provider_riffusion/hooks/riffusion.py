"""The hook: from an Airflow connection to songs and files."""

import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionError
from airflow_provider_riffusion.get_provider_info import get_provider_info
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.parameters import one_of
from airflow_provider_riffusion.safe_text import without_quotes
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.transport.retry import ATTEMPTS
from airflow_provider_riffusion.useapi.client import UseapiClient
from airflow_provider_riffusion.useapi.download import DownloadedFile, download_audio, download_stems
from airflow_provider_riffusion.useapi.errors import ACCOUNTS_PAGE, broken_accounts_error
from airflow_provider_riffusion.useapi.models import AUDIO_FORMATS, Account, AudioFormatName, Job, Slots, Song
from airflow_provider_riffusion.useapi.prompts import STEMS
from airflow_provider_riffusion.useapi.riffusion import requests, responses
from airflow_provider_riffusion.useapi.riffusion.stems import parse_stems

DEFAULT_MAX_BYTES = 2**31
#: How many songs an account may make at once, unless its owner says otherwise.
DEFAULT_MAX_JOBS = 3
#: Airflow kills a task's process 5 s after on_kill() began.
_CANCEL_SECONDS = 3.0
#: Whoever has clicked on the test button waits for an answer.
_TEST_SECONDS = 9.0


class RiffusionHook(BaseHook):
    """
    Speak with the useapi.net Riffusion API v1.

    Every GET is repeated after connection errors, timeouts, broken transfers and the statuses 408, 429, 500, 502, 503
    and 504; never after HTTP 596, when only a human can repair the account.

    All methods raise these; each method names what it raises beyond them:

    * :class:`RiffusionConfigurationError`: the connection or a parameter is wrong, no request was sent
    * :class:`RiffusionConnectionError`: no response came
    * :class:`RiffusionApiError` and its subclasses: the API sent an error response
    * :class:`RiffusionDownloadError`: the response did not arrive whole

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
        """Return how the connection form looks on Airflow 3.1; later versions read the provider info alone."""
        behaviour: dict[str, Any] = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    @cached_property
    def settings(self) -> ConnectionSettings:
        """The connection, looked up once."""
        try:
            connection = self.get_connection(self.riffusion_conn_id)
        except AirflowNotFoundException:
            # No retry makes a connection, so this error is one that ends the task at once.
            what = f"There is no Airflow connection {self.riffusion_conn_id!r}.\nAdd it, or correct riffusion_conn_id."
            raise RiffusionConfigurationError(what) from None
        settings = ConnectionSettings.of(connection)
        # Airflow masks the password, which is only a part of a token that came as login:password.
        for secret in settings.secrets:
            mask_secret(secret)
        return settings

    @cached_property
    def _client(self) -> UseapiClient:
        return UseapiClient(self.settings)

    def open(self) -> None:
        """Look the connection up and make the client, which threads that share this hook must not do all at once."""
        _ = self._client

    def test_connection(self) -> tuple[bool, str]:
        """
        Test the connection, for the button of Airflow's form and ``airflow connections test``.

        :return: whether the token is good and no account is broken, and what was found
        """
        try:
            found = (False, f"{self.settings.base_url} gave no whole response within {_TEST_SECONDS:g} s")
        except Exception as error:
            # Airflow tests a form's connection under a random id, which would only puzzle.
            return False, str(error).replace(f"Connection {self.riffusion_conn_id!r}: ", "")

        def test() -> None:
            nonlocal found
            try:
                accounts = ", ".join(account.user_id for account in self.check_accounts(attempts=1))
                says = ("The API token is good", f"healthy accounts: {accounts}", self.settings.warning)
                found = True, "; ".join(filter(None, says))
            except Exception as error:
                found = False, str(error)

        # In a thread, because nothing else bounds the resolution of a name, or a server that drips.
        thread = threading.Thread(target=test, daemon=True)
        thread.start()
        thread.join(_TEST_SECONDS)
        return found

    def get_conn(self) -> Any:
        """Raise, because there is no connection object to work with; the error names what to use instead."""
        raise NotImplementedError(
            "RiffusionHook has no connection object; its methods send the requests.\n"
            "Use check_accounts() as a gate; list_songs() and get_songs() to look; create_request() and create() to "
            "start songs; download() and download_stems() for files; delete_song() to delete; get_accounts() and "
            "post_account() for accounts; get_scheduler() and get_available() for jobs and slots; settings for the "
            "base URL."
        )

    def check_accounts(self, *, user_id: str | None = None, attempts: int = ATTEMPTS) -> list[Account]:
        """
        Check with one request that the account can be used; a gate before many downloads.

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
                f"The API token is good, but {missing} configured at useapi.net; see {ACCOUNTS_PAGE}."
            )
        if broken := [account for account in accounts if account.error is not None]:
            raise broken_accounts_error(broken, requests.accounts_request())
        return accounts

    def get_accounts(self, *, attempts: int = ATTEMPTS) -> list[Account]:
        """
        List the accounts that are configured at useapi.net; a broken one has an ``error``.

        :param attempts: how often the request is sent at most
        """
        try:
            return self._client.get_json(requests.accounts_request(), responses.parse_accounts, attempts=attempts)
        except exceptions.RiffusionNotFoundError:
            # The API answers 404 when there is no account.
            return []

    def list_songs(
        self, *, offset: int = 0, limit: int = 10, user_id: str | None = None, attempts: int = ATTEMPTS
    ) -> list[Song]:
        """
        List a page of the library in the API's order, which was newest first.

        :param offset: songs to leave out at the start
        :param limit: most songs to return
        :param user_id: account; by default the connection's
        :param attempts: how often the request is sent at most
        """
        request = requests.page_request(offset, limit, self._user_id(user_id))
        return self._client.get_json(request, responses.parse_songs, attempts=attempts)

    def get_songs(self, song_or_job_id: str, *, user_id: str | None = None, attempts: int = ATTEMPTS) -> list[Song]:
        """
        Get a song, or the songs of a job.

        :param song_or_job_id: id of either
        :param user_id: account; by default the connection's
        :param attempts: how often the request is sent at most
        :raises RiffusionNotFoundError: the id is unknown
        """
        request = requests.songs_request(song_or_job_id, self._user_id(user_id))
        return self._client.get_json(request, responses.parse_songs, attempts=attempts)

    def poll_songs(self, handles: Sequence[str], *, user_id: str | None = None) -> list[list[Song]]:
        """
        Look once at songs that are waited for; a failed request is not repeated, because the next poll is.

        :param handles: song or job ids
        :param user_id: account; by default the connection's
        :return: for each handle its songs; none while the API does not show them yet
        """
        return [self._find_songs(handle, user_id) for handle in handles]

    def _find_songs(self, handle: str, user_id: str | None) -> list[Song]:
        try:
            return self.get_songs(handle, user_id=user_id, attempts=1)
        except (exceptions.RiffusionNotFoundError, exceptions.RiffusionNotReadyError):
            return []

    def abort(self) -> None:
        """Abort all requests, from another thread or a signal handler; the hook cannot be used any more."""
        if "_client" in vars(self):
            self._client.abort()

    def close(self) -> None:
        """Abort all requests, and close all connections; the hook cannot be used any more."""
        self._client.close()

    @contextmanager
    def aborted_after(self, seconds: float) -> Iterator[None]:
        """Abort requests that take longer; see :meth:`abort`."""
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self.abort)
        timer.daemon = True
        if seconds < math.inf:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def create_request(self, parameters: Mapping[str, object]) -> Request:
        """
        Return the create request for one prompt, or for a composition; nothing is sent.

        :param parameters: those of :class:`RiffusionCreatePromptOperator` or, with ``prompts``, of
            :class:`RiffusionCreateComposeOperator` that describe the song; without ``user_id`` the connection's is used
        :raises RiffusionConfigurationError: a parameter is wrong or unknown; the message names it
        """
        user_id: Any = parameters.get("user_id")
        return requests.create_request({**parameters, "user_id": self._user_id(user_id)})

    def create(self, request: Request) -> list[str]:
        """
        Send a create request, once, whatever happens.

        :param request: as :meth:`create_request` returns it
        :return: handles that the response named, song or job ids; none when its shape is unknown
        :raises RiffusionModerationError: a prompt or the lyrics were moderated
        """
        return self._client.send_json(request, responses.parse_created)

    def generate_lyrics(self, prompt: str, *, lyrics: str | None = None, user_id: str | None = None) -> str:
        """
        Have lyrics written.

        :param prompt: what about
        :param lyrics: lyrics to go on from
        :param user_id: account; by default the connection's
        """
        request = requests.lyrics_request(prompt, lyrics, self._user_id(user_id))
        return self._client.send_json(request, responses.parse_lyrics)

    def delete_song(self, song_id: str, *, user_id: str | None = None) -> bool:
        """
        Delete a song.

        :param song_id: id of the song
        :param user_id: account; by default the connection's
        :return: False when there was no such song
        """
        return self._client.delete(requests.delete_song_request(song_id, self._user_id(user_id)))

    def get_account(self, user_id: str) -> Account:
        """
        Get one account.

        :param user_id: the account
        :raises RiffusionNotFoundError: there is no such account
        """
        return self._client.get_json(requests.accounts_request(user_id), responses.parse_account)

    def post_account(self, cookie: str, *, max_jobs: int = DEFAULT_MAX_JOBS) -> Account:
        """
        Configure an account, or give a broken one a fresh cookie. The API takes each cookie only once.

        :param cookie: the cookie; it is in no log line and in no error
        :param max_jobs: how many songs the account may generate at once, 1 to 10
        """
        mask_secret(cookie)
        try:
            account = self._client.send_json(requests.post_account_request(cookie, max_jobs), responses.parse_account)
        except RiffusionError as error:
            # The API may quote the cookie that it refuses, whole or cut.
            error.args = tuple(without_quotes(str(arg), cookie) for arg in error.args)
            texts = {name: value for name, value in vars(error).items() if isinstance(value, str)}
            vars(error).update({name: without_quotes(value, cookie) for name, value in texts.items()})
            raise
        return account if account.error is None else replace(account, error=without_quotes(account.error, cookie))

    def get_scheduler(self, *, attempts: int = ATTEMPTS) -> list[Job]:
        """
        Return the vendor's job list: the jobs that run, of all accounts.

        :param attempts: how often the request is sent at most
        """
        return self._client.get_json(requests.scheduler_request(), responses.parse_jobs, attempts=attempts)

    def get_available(self) -> list[Slots]:
        """List the slots for generations, of all accounts."""
        return self._client.get_json(requests.available_request(), responses.parse_available)

    def delete_job(self, job_id: str, *, timeout: float | None = None) -> bool:
        """
        Take a job off the vendor's job list, so that the vendor stops tracking it.

        :param job_id: the job
        :param timeout: seconds; by default the connection's
        :return: False when the list did not have the job
        """
        return self._client.delete(requests.delete_job_request(job_id), timeout=timeout)

    def cancel_jobs(self, job_ids: Sequence[str]) -> None:
        """
        Take jobs off the vendor's job list, best effort, within 3 seconds in all; failures are logged.

        :param job_ids: the jobs
        """
        # The timeout bounds connecting and reading one by one, so each gets half.
        timeout = _CANCEL_SECONDS / len(job_ids) / 2
        for job_id in job_ids:
            try:
                found = self.delete_job(job_id, timeout=timeout)
                self.log.info("Job %s was %s", job_id, "cancelled" if found else "not in the job list any more")
            except RiffusionError as error:
                self.log.warning("Could not cancel job %s: %s", job_id, error)

    def download(
        self,
        song_id: str,
        download_format: AudioFormatName,
        destination: str | os.PathLike[str],
        *,
        user_id: str | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> DownloadedFile:
        """
        Download a song's audio into a local file.

        :param song_id: id of the song
        :param download_format: ``mp3`` or ``wav``
        :param destination: the file; until the download is whole, an older file there stays as it is
        :param user_id: account; by default the connection's
        :param max_bytes: largest size in bytes that is accepted
        :raises RiffusionTooLargeError: the song is larger than ``max_bytes``
        """
        one_of(AUDIO_FORMATS).check("download_format", download_format)
        request = requests.download_request(song_id, download_format, self._user_id(user_id))
        expected, path = AUDIO_FORMATS[download_format], Path(destination)
        return download_audio(self._client, request, responses.parse_download_url, expected, path, max_bytes)

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
        :param directory: the folder; it is made when it is missing, and gets the files only when all are whole
        :param user_id: account; by default the connection's
        :param max_bytes: largest size in bytes, of all stems together, that is accepted
        :raises RiffusionStemsError: the document has an unknown shape; it is kept as
            ``<song_id>.stems.unknown.json``
        :raises RiffusionTooLargeError: the stems are larger than ``max_bytes``
        """
        request = requests.download_request(song_id, STEMS, self._user_id(user_id))
        return download_stems(self._client, request, parse_stems, song_id, Path(directory), max_bytes)

    def _user_id(self, user_id: str | None) -> str | None:
        return user_id or self.settings.user_id
