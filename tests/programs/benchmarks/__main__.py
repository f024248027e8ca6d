"""
Compare ways to fetch one wav, side by side in one run: seconds and peak memory, and their ratios.

Each way runs in a process of its own, in turn with the others, against one emulator on this machine, after a tiny
song that pays for the imports. It shows what the checks cost; on a real network the network decides.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from statistics import median

from airflow_provider_riffusion.emulator import Emulator, Song

ROUNDS = 5
BODY_BYTES = 45 * 10**6

PRELUDE = """
    import sys, time
    url, token, folder = sys.argv[1:]
    path = "/v1/riffusion/music/download/?download_format=wav&id="
    headers = {"Authorization": f"Bearer {token}"}
"""
MEASURE = """
    fetch("tiny")
    start = time.perf_counter()
    fetch("song")
    seconds = time.perf_counter() - start
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("RESULT", seconds, int(peak) / 1024)
"""
WAYS = {
    "RiffusionDownloadOperator": """
    from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator
    def fetch(song_id):
        RiffusionDownloadOperator(
            task_id="t", song_id=song_id, download_format="wav", storage_path=folder
        ).execute({})
    """,
    "requests, 1 MiB chunks, no checks": """
    import airflow.sdk, requests
    def fetch(song_id):
        with requests.get(url + path + song_id, headers=headers, stream=True) as response:
            with open(f"{folder}/{song_id}.wav", "wb") as file:
                for chunk in response.iter_content(2**20):
                    file.write(chunk)
    """,
    "HttpHook and response.content": """
    import airflow.sdk
    from airflow.providers.http.hooks.http import HttpHook
    hook = HttpHook(method="GET", http_conn_id="http_songs")
    def fetch(song_id):
        response = hook.run(path + song_id, headers=headers)
        open(f"{folder}/{song_id}.wav", "wb").write(response.content)
    """,
}


def main() -> None:
    """Run all ways in turn and print a table."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    if shutil.which("curl"):
        measured["curl"] = []
    with Emulator(songs=[Song("song", duration_s=BODY_BYTES / 44_100 / 4), Song("tiny", duration_s=0.01)]) as emulator:
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token}
        os.environ["AIRFLOW_CONN_RIFFUSION_DEFAULT"] = json.dumps(connection)
        os.environ["AIRFLOW_CONN_HTTP_SONGS"] = json.dumps({"conn_type": "http", "host": emulator.url})
        for _ in range(ROUNDS):
            for name, results in measured.items():
                with tempfile.TemporaryDirectory() as folder:
                    results.append(curl(emulator, folder) if name == "curl" else run(WAYS[name], emulator, folder))
    print(f"One wav of {BODY_BYTES / 1e6:.0f} MB to a local folder, median of {ROUNDS} runs\n")
    print(f"{'':<36}{'seconds':>9}{'ratio':>8}{'peak MB':>10}{'ratio':>8}")
    base = [median(values) for values in zip(*measured["RiffusionDownloadOperator"], strict=True)]
    for name, results in measured.items():
        seconds, peak = (median(values) for values in zip(*results, strict=True))
        print(f"{name:<36}{seconds:>9.3f}{seconds / base[0]:>8.2f}{peak:>10.0f}{peak / base[1]:>8.2f}")


def run(way: str, emulator: Emulator, folder: str) -> tuple[float, float]:
    """Run one way in a process of its own; return its seconds and peak megabytes."""
    code = "".join(map(textwrap.dedent, (PRELUDE, way, MEASURE)))
    arguments = [sys.executable, "-c", code, emulator.url, emulator.token, folder]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.rpartition("RESULT")[2].split()
    size = sum(path.stat().st_size for path in Path(folder).rglob("*.wav"))
    if size < BODY_BYTES * 0.99:
        raise RuntimeError(f"only {size} bytes arrived")
    return float(seconds), float(peak)


def curl(emulator: Emulator, folder: str) -> tuple[float, float]:
    """Run curl the same way; its time includes starting it."""
    code = """
        import resource, subprocess, sys, time
        start = time.perf_counter()
        subprocess.run(sys.argv[1:], check=True)
        print("RESULT", time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    """
    source = f"{emulator.url}/v1/riffusion/music/download/?id=song&download_format=wav"
    command = ["curl", "-sf", "-H", f"Authorization: Bearer {emulator.token}", "-o", f"{folder}/x.wav", source]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *command], capture_output=True, text=True, check=True
    )
    seconds, peak = done.stdout.rpartition("RESULT")[2].split()
    return float(seconds), float(peak)


if __name__ == "__main__":
    main()
