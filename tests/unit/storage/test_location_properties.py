"""Whatever a storage path looks like: it is taken apart, or refused by name."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionError
from airflow_provider_riffusion.storage.location import StorageLocation
from tests.support.strategies import any_text, outcome

storage_paths = (
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["", "file://", "local://", "s3://", "gs://", "sftp://", "S3://", "://", "x y://"]),
            st.sampled_from(["", "conn@", "a@b@"]),
            st.sampled_from(["", "/", "bucket", "bucket/", "/data/songs", "/data/../songs//", ".", "~", "//", "b\r"]),
            st.sampled_from(["", "/", "/a b/", "/ä", "/#?", "\0", "\n", "\x1b"]),
        ),
    )
    | any_text
)


@given(storage_path=storage_paths, conn_id=st.none() | st.sampled_from(["conn", "other", ""]))
def test_a_storage_path_is_taken_apart_or_refused(storage_path: str, conn_id: str | None) -> None:
    found = outcome(lambda: StorageLocation.of(storage_path, conn_id))
    if isinstance(found, RiffusionError):
        assert type(found) is RiffusionConfigurationError
        assert str(found).startswith("storage_path is ")
        return
    assert not re.search("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]", found.path)
    if not found.scheme:
        assert Path(found.path).is_absolute()
        assert ".." not in Path(found.path).parts
        assert StorageLocation.of(found.path) == found
    else:
        assert "@" not in found.path.partition("/")[0]
        assert not found.path.endswith("/")
        assert StorageLocation.of(f"{found.scheme}://{found.path}", found.conn_id) == found
