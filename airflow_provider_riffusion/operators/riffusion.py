"""Operators for songs, in the module where users import them from."""

from airflow_provider_riffusion.operators.create import RiffusionCreateComposeOperator, RiffusionCreatePromptOperator
from airflow_provider_riffusion.operators.download import RiffusionDownloadOperator
from airflow_provider_riffusion.operators.download_songs import DownloadSongsResult, RiffusionDownloadSongsOperator
from airflow_provider_riffusion.operators.library import RiffusionDeleteSongOperator, RiffusionListSongsOperator
from airflow_provider_riffusion.operators.song_download import DownloadResult
from airflow_provider_riffusion.operators.song_manifest import SongEntry
from airflow_provider_riffusion.storage.manifest import StemFile

__all__ = [
    "DownloadResult",
    "DownloadSongsResult",
    "RiffusionCreateComposeOperator",
    "RiffusionCreatePromptOperator",
    "RiffusionDeleteSongOperator",
    "RiffusionDownloadOperator",
    "RiffusionDownloadSongsOperator",
    "RiffusionListSongsOperator",
    "SongEntry",
    "StemFile",
]
