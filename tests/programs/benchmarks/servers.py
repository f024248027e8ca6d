"""Servers that are no bottleneck: nginx for files, for polls and as an S3 store; without it, the emulator for files."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.emulator.emulator import DEFAULT_TOKEN
from tests.programs.benchmarks.table import NotRunError
from tests.stores.servers import free_port, start

WAV_BYTES_PER_SECOND = 44_100 * 4
#: Songs by id, and the bytes of their wavs; one that is small pays for the first use of everything.
SONG_BYTES = {"tiny": 1_000, "small": 10 * 10**6, "usual": 45 * 10**6, "huge": 200 * 10**6}
STEM_BYTES = 12_500_000
#: 100 Mbit/s for each connection.
STEM_BYTES_PER_SECOND = 12_500_000
#: Stems in one document, as the API sends them.
ENCODED_STEM_BYTES = 6 * 10**6

#: What the API wants of a client; nginx ignores it.
HEADERS = {"Authorization": f"Bearer {DEFAULT_TOKEN}"}

_CONFIGURATION = """
daemon off; user {user}; worker_processes 2; worker_rlimit_nofile 20000; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; client_max_body_size 0;
  client_body_temp_path {root}/bodies; proxy_temp_path {root}/t1; fastcgi_temp_path {root}/t2;
  uwsgi_temp_path {root}/t3; scgi_temp_path {root}/t4;
  log_format line "$request_uri";
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=8192; root {root};
    location = /v1/riffusion/music/download/ {{ try_files /songs/$arg_id.$arg_download_format =404; }}
    location = /v1/riffusion/music/ {{ access_log {root}/polls.log line; try_files /polls/one/$arg_id.json /polls/page.json =404; }}
    location = /v1/riffusion/scheduler {{ access_log {root}/polls.log line; try_files /polls/jobs.json =404; }}
    location = /missing {{ access_log {root}/polls.log line; return 404; }}
    location /stems/ {{ limit_rate {stem_bytes_per_second}; }}
  }}
  map "$request_method $args" $part {{ "~^PUT .*partNumber=(\\d+)" "/part$1"; }}
  server {{
    listen 127.0.0.1:{s3_port}; root {root}/objects;
    # boto3 wants an ETag for each part.
    add_header ETag '"0"' always;
    if ($request_method = POST) {{ rewrite ^ /upload last; }}
    if ($part) {{ rewrite ^ $part$uri break; }}
    location = /songs {{ return 200; }}
    location = /upload {{
      internal;
      return 200 '<R><UploadId>1</UploadId><ETag>0</ETag></R>';
    }}
    location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}
"""  # noqa: E501  # a line of nginx's file for each place


class Servers:
    """
    What the rows fetch from, and store into.

    :param stack: ends the servers
    :param root: an empty folder
    """

    def __init__(self, stack: ExitStack, root: Path) -> None:
        self.root = root
        self._nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        port, s3_port = free_port(), free_port()
        self.url, self._s3_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{s3_port}"
        if self._nginx:
            self._make_files()
            version = subprocess.run([self._nginx, "-v"], capture_output=True, text=True).stderr
            self.name = version.strip().rpartition(" ")[2].replace("/", " ")
            configuration = root / "nginx.conf"
            values = {"port": port, "s3_port": s3_port, "stem_bytes_per_second": STEM_BYTES_PER_SECOND}
            user = "root" if os.geteuid() == 0 else "nobody"
            configuration.write_text(_CONFIGURATION.format(root=root, user=user, **values))
            start(stack, self._nginx, "-c", str(configuration), port=port)
        else:
            self.name = "the bundled emulator, because nginx is not installed"
            start(stack, sys.executable, "-m", "tests.programs.benchmarks.servers", str(port), port=port)
        self._connect()

    def need_nginx(self) -> None:
        """Raise when there is no nginx."""
        if not self._nginx:
            raise NotRunError("nginx is not installed")

    def add_songs(self, prefix: str, count: int, like: str) -> list[str]:
        """Give songs names of their own and the audio of another one; return the names."""
        names = [f"{prefix}-{number}" for number in range(count)]
        for name in names:
            (self.root / "songs" / f"{name}.wav").symlink_to(f"{like}.wav")
        return names

    def _make_files(self) -> None:
        for name in ("songs", "stems", "polls", "objects/songs"):
            (self.root / name).mkdir(parents=True)
        emulator = _emulator()
        for song_id in SONG_BYTES:
            (self.root / "songs" / f"{song_id}.wav").write_bytes(emulator.audio(song_id, "wav"))
        content = next(iter(emulator.stems("by-url").values()))
        by_url = {f"stem{number}": f"{self.url}/stems/{number}.m4a" for number in range(6)}
        for url in by_url.values():
            (self.root / "stems" / url.rpartition("/")[2]).write_bytes(content)
        _put(self.root / "songs" / "by-url.stems", {"stems": by_url})

        encoded = {name: base64.b64encode(content).decode() for name, content in emulator.stems("encoded").items()}
        _put(self.root / "songs" / "encoded.stems", {"stems": encoded})

    def _connect(self) -> None:
        extra = {"endpoint_url": self._s3_url, "region_name": "us-east-1"}
        connections = {
            "riffusion_default": {"conn_type": "riffusion", "host": self.url, "password": DEFAULT_TOKEN},
            "songs_http": {"conn_type": "http", "host": self.url},
            "song_store": {"conn_type": "aws", "login": "songs", "password": "songs", "extra": extra},
        }
        for conn_id, connection in connections.items():
            os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)


def show_songs(root: Path, ids: Iterable[str], status: str) -> None:
    """
    Let nginx show songs with a status: each alone, all on a page, and while they run in the job list.

    :param root: the folder of the servers
    """
    entries = {song_id: {"id": song_id, "status": status, "created_at": "2025-04-01T12:00:00Z"} for song_id in ids}
    one = root / "polls" / "one"
    one.mkdir(exist_ok=True)
    for song_id, entry in entries.items():
        _put(one / f"{song_id}.json", [entry])
    jobs = [{"job_id": song_id, "user_id": "user-1"} for song_id in entries]
    _put(root / "polls" / "jobs.json", [] if status == "complete" else jobs)
    _put(root / "polls" / "page.json", [*entries.values()])


def count_polls(root: Path) -> int:
    """Return how many requests for songs, pages and jobs nginx has had."""
    return (root / "polls.log").read_bytes().count(b"\n")


def _put(path: Path, value: object) -> None:
    """Replace a file at once, because a server may read it."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value))
    new.replace(path)


def _emulator(port: int = 0) -> Emulator:
    songs = [Song(song_id, duration_s=size / WAV_BYTES_PER_SECOND) for song_id, size in SONG_BYTES.items()]
    songs += [Song("by-url", stem_padding=STEM_BYTES), Song("encoded", stem_padding=ENCODED_STEM_BYTES)]
    return Emulator(songs=songs, port=port)


def _serve(port: int) -> None:
    with _emulator(port):
        signal.pause()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
