"""Start songs from one prompt, or compose one, and wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_riffusion.operators.create_base import COMMON_PARAMETERS, BaseCreateOperator
from airflow_provider_riffusion.useapi.riffusion import creation

if TYPE_CHECKING:
    from airflow_provider_riffusion.useapi.riffusion.requests import Request


class RiffusionCreatePromptOperator(BaseCreateOperator):
    """
    Start songs from one prompt, and wait for them.

    Returns the list of song ids, so that ``RiffusionDownloadOperator.partial(…).expand(song_id=create.output)`` works.

    :param prompt: what to play
    :param instrumental: without a voice
    :raises RiffusionModerationError: the prompt was moderated
    :raises RiffusionSongFailedError: a song ended failed
    :raises RiffusionTimeoutError: the songs were not finished in time; the next try waits on
    :raises RiffusionCreateUncertainError: the reply was lost and nobody can tell whether songs were created
    """

    request_parameters = ("prompt", "instrumental", *COMMON_PARAMETERS)
    template_fields = ("prompt", "instrumental", *BaseCreateOperator.template_fields)
    __doc__ = f"{__doc__}{BaseCreateOperator.__doc__}"

    def __init__(self, *, prompt: str, instrumental: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.instrumental = instrumental
        self._check_literals()

    def _request(self, *, user_id: str | None, reply_ref: str | None = None) -> Request:
        return creation.prompt_request(**self._parameters(user_id=user_id, reply_ref=reply_ref))


class RiffusionCreateComposeOperator(BaseCreateOperator):
    """
    Start songs from one to three prompts and lyrics, and wait for them.

    Returns the list of song ids, so that ``RiffusionDownloadOperator.partial(…).expand(song_id=create.output)`` works.

    :param prompts: one to three objects ``{"text", "strength", "start", "end"}``: strength 20 to 100 (50), start and
        end 0 to 100, in percent of the song; all but the text may be left out
    :param lyrics: the words; None: instrumental
    :param title: the title
    :param lyrics_strength: 0 to 100
    :param lyrics_weirdness: 0 to 100
    :param audio_upload_id: the vendor's id of an uploaded audio
    :param image_id: the vendor's id of an image
    :raises RiffusionModerationError: a prompt or the lyrics were moderated
    :raises RiffusionSongFailedError: a song ended failed
    :raises RiffusionTimeoutError: the songs were not finished in time; the next try waits on
    :raises RiffusionCreateUncertainError: the reply was lost and nobody can tell whether songs were created
    """

    _own_parameters = (
        "prompts",
        "lyrics",
        "title",
        "lyrics_strength",
        "lyrics_weirdness",
        "audio_upload_id",
        "image_id",
    )
    request_parameters = (*_own_parameters, *COMMON_PARAMETERS)
    template_fields = (*_own_parameters, *BaseCreateOperator.template_fields)
    __doc__ = f"{__doc__}{BaseCreateOperator.__doc__}"

    def __init__(
        self,
        *,
        prompts: Sequence[creation.Prompt],
        lyrics: str | None = None,
        title: str | None = None,
        lyrics_strength: int | str | None = None,
        lyrics_weirdness: int | str | None = None,
        audio_upload_id: str | None = None,
        image_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompts = prompts
        self.lyrics = lyrics
        self.title = title
        self.lyrics_strength = lyrics_strength
        self.lyrics_weirdness = lyrics_weirdness
        self.audio_upload_id = audio_upload_id
        self.image_id = image_id
        self._check_literals()

    def _request(self, *, user_id: str | None, reply_ref: str | None = None) -> Request:
        return creation.compose_request(**self._parameters(user_id=user_id, reply_ref=reply_ref))
