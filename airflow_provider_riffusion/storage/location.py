"""Take a storage path apart, without looking at the store."""

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.parameters import wrong
from airflow_provider_riffusion.safe_text import printable

SFTP = "sftp"
#: URL schemes of stores in which a file can appear whole under its name, and our extra that installs their provider.
KINDS: Mapping[str, str] = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "adl"), "azure"),
    **dict.fromkeys(("sftp", "ssh"), SFTP),
}
#: The scheme under which Airflow's assets name a store; Airflow normalises ``s3`` and ``gs``, and no alias of them.
_ASSET_SCHEMES: Mapping[str, str] = {"": "file", "s3": "s3", "gcs": "gs", "azure": "abfs", SFTP: SFTP}
#: What RFC 3986 allows in a path.
_PATH_CHARS = "/:@!$&'()*+,;=~"

_REMEDY = "use a local folder, s3://, gs://, abfs:// (Azure) or sftp://"
PATH_REMEDY = "give an absolute folder such as /data/songs, a URL such as s3://bucket/songs, or a path object"


@dataclass(frozen=True)
class StorageLocation:
    """
    A storage path taken apart.

    :param scheme: URL scheme; empty for a local folder
    :param conn_id: Airflow connection of the store
    :param path: absolute local path, bucket and key, or host and path
    """

    scheme: str
    conn_id: str | None
    path: str

    @classmethod
    def of(cls, storage_path: str, conn_id: str | None = None) -> Self:
        """
        Check a storage path, without looking at the store.

        :param storage_path: absolute local path, or a URL such as ``s3://conn_id@bucket/prefix``
        :param conn_id: Airflow connection of the store, when the URL names none
        :raises RiffusionConfigurationError: it is neither, names another connection, or a part of a file could be seen
            there
        """
        scheme, separator, rest = storage_path.partition("://")
        if not separator:
            scheme, rest = "", storage_path
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in storage_path):
            raise wrong_path(storage_path, "it must not hold control characters")
        if scheme in ("file", "local", ""):
            if not os.path.isabs(rest):
                raise wrong_path(storage_path, PATH_REMEDY)
            return cls("", None, os.path.normpath(rest))
        if scheme not in KINDS:
            raise wrong_path(storage_path, f"a part of a file could be seen there; {_REMEDY}")
        authority, slash, key = rest.partition("/")
        url_conn_id, _, bucket = authority.rpartition("@")
        if not bucket and KINDS[scheme] != SFTP:
            raise wrong_path(storage_path, "name a bucket or container, as in s3://bucket/songs")
        if not (url_conn_id or conn_id) and KINDS[scheme] == SFTP:
            raise wrong_path(storage_path, "name its connection, as in sftp://conn_id@host/songs")
        if url_conn_id and conn_id and url_conn_id != conn_id:
            remedy = f"it names the connection {url_conn_id!r}, and storage_conn_id is {conn_id!r}; leave one out"
            raise wrong_path(storage_path, remedy)
        return cls(scheme, url_conn_id or conn_id or None, f"{bucket}{slash}{key}".rstrip("/"))

    def uri(self, *names: str, server: str = "") -> str:
        """
        Return the URI of a file, which is the same however the storage path was written, and names no connection.

        A ``#`` or ``?`` is escaped, because Airflow would cut an asset's URI there, and what is not ASCII is, because
        Airflow refuses it where its database is MySQL.

        :param names: the file, below this location; none for the location itself
        :param server: host and port of an SFTP server; Airflow's provider adds the usual port to a URI without one
        """
        kind = KINDS.get(self.scheme, "")
        host, slash, folder = self.path.rstrip("/").partition("/")
        root = f"{server if kind == SFTP else host}{slash}{folder}"
        return f"{_ASSET_SCHEMES[kind]}://{quote('/'.join((root, *names)), safe=_PATH_CHARS)}"


def wrong_path(storage_path: str, remedy: str) -> RiffusionConfigurationError:
    """
    Return the error for a storage path that is wrong or cannot be used.

    :param storage_path: the path or URL
    :param remedy: what to do, without a full stop
    """
    return wrong("storage_path", repr(printable(storage_path, 500)), remedy)
