"""The values that the vendor's APIs speak about: songs, jobs, slots and accounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypedDict, cast

from airflow_provider_riffusion.audio import formats

AudioFormatName = Literal["mp3", "wav"]
AUDIO_FORMATS: Mapping[str, formats.AudioFormat] = {"mp3": formats.MP3, "wav": formats.WAV}


#: An XCom holds texts of a song up to this length.
_MAX_CHARS = 1024


class SongState(Enum):
    """Where a song is in its life."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True)
class Song:
    """
    A song of the library. Fields that the response lacks, or has with another type, are None.

    :param id: song id
    :param status: the vendor's status word, such as ``completed``
    :param state: what the status word means
    :param title: title
    :param created_at: time of creation, ISO 8601
    :param duration_s: length in seconds
    :param share_url: page of the song
    :param download_url: the vendor's own link to an m4a file
    :param group_id: shared by songs that belong together
    :param sound: what the song sounds like, in the words of the prompt
    :param topic: what the song is about
    :param lyrics: the words
    """

    id: str
    status: str | None = None
    state: SongState = SongState.RUNNING
    title: str | None = None
    created_at: str | None = None
    duration_s: float | None = None
    share_url: str | None = None
    download_url: str | None = None
    group_id: str | None = None
    sound: str | None = None
    topic: str | None = None
    lyrics: str | None = None

    @property
    def is_completed(self) -> bool:
        """Whether the song can be downloaded."""
        return self.state is SongState.COMPLETED


class SongSummary(TypedDict):
    """The fields of a song that fit into an XCom, cut to a bounded length."""

    id: str
    status: str | None
    title: str | None
    duration_s: float | None
    share_url: str | None


@dataclass(frozen=True)
class Job:
    """
    A job of the vendor's job list.

    :param id: job id
    :param user_id: account that the job runs for
    :param started: when the job started, ISO 8601
    :param reply_ref: the reference that was sent with the create request
    """

    id: str
    user_id: str | None = None
    started: str | None = None
    reply_ref: str | None = None


@dataclass(frozen=True)
class Slots:
    """
    An account's slots for generations.

    :param user_id: the account
    :param max_jobs: how many slots the account has
    :param executing: how many are in use
    :param available: how many are free
    """

    user_id: str
    max_jobs: int | None = None
    executing: int | None = None
    available: int | None = None


@dataclass(frozen=True)
class Account:
    """
    A Riffusion account that is configured at the vendor.

    :param user_id: the account's id
    :param max_jobs: how many songs the account may generate at once
    :param error: why the account is broken; None for a healthy one
    """

    user_id: str
    max_jobs: int | None = None
    error: str | None = None


def summary_of(song: Song) -> SongSummary:
    """Return the fields of a song that fit into an XCom."""
    values = {name: getattr(song, name) for name in SongSummary.__annotations__}
    cut = {name: value[:_MAX_CHARS] if isinstance(value, str) else value for name, value in values.items()}
    return cast("SongSummary", cut)
