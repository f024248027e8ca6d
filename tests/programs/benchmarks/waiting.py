"""Many triggers that wait, in one event loop, as a triggerer runs them."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.programs.benchmarks.rounds import in_process, tell
from tests.programs.benchmarks.servers import Servers, count_polls, show_songs
from tests.programs.benchmarks.table import Row

_INTERVAL_SECONDS = 5.0
#: Until every trigger waits; to start one takes about a hundredth of a second on a busy machine.
_SETTLING_SECONDS, _SETTLING_SECONDS_EACH = 10.0, 0.01
_WATCHED_SECONDS = 15.0
_LAG_SLEEP_SECONDS = 0.05
_TARGETS = {1_000: "2 %; <= 2/s; <= 4; < 10 ms", 5_000: "3 %; <= 2/s; <= 4; < 10 ms"}

_GROUP = 64
_GROUP_INTERVAL_SECONDS = 1.0
#: A trigger that has said nothing by then will not.
_PATIENCE_INTERVALS = 15


def rows(servers: Servers) -> Iterator[Row]:
    """Compare what waiting costs, and how late it is beside an API that hangs."""
    servers.need_nginx()
    for count, target in _TARGETS.items():
        show_songs(servers.root, _ids(count), "generating_audio")
        ours, its = (in_process("waiting", kind, count, servers.root) for kind in ("ours", "sensor"))
        work = f"{count:,} waiting songs, 5 s: CPU of a core; requests; sockets; loop lag p99"
        yield Row(work, _shown(ours), f"HttpSensorTrigger: {_shown(its)}", f"CPU {ours[0] / its[0]:.2f}", target)
    late = in_process("waiting", "hanging", _GROUP, servers.root)
    work = f"{_GROUP} waits beside {_GROUP} on an API that hangs: lateness of the latest"
    told = f"{late['latest']:.1f} intervals" if late["told"] == _GROUP else f"{_GROUP - late['told']} never told"
    yield Row(work, told, "", "", "<= 1 interval")


def _shown(figures: Sequence[float]) -> str:
    cpu, requests, sockets, lag = figures
    return f"{cpu:.1%}; {requests:.1f}/s; {sockets:.0f}; {lag * 1000:.1f} ms"


def _ids(count: int) -> list[str]:
    return [f"wait-{number}" for number in range(count)]


def _ours(song_id: str, interval: float = _INTERVAL_SECONDS, conn_id: str = "riffusion_default") -> Any:
    from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger

    return RiffusionSongTrigger(
        ids=[song_id], riffusion_conn_id=conn_id, user_id=None, poll_interval=interval, deadline=time.time() + 3600
    )


def _sensor(_: str) -> Any:
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    # It waits while the answer is 404.
    return HttpSensorTrigger(endpoint="missing", http_conn_id="songs_http", poke_interval=_INTERVAL_SECONDS)


_KINDS: Mapping[str, Callable[[str], Any]] = {"ours": _ours, "sensor": _sensor}


async def _event(trigger: Any) -> float:
    """Wait for a trigger's event, and return when it came, in seconds of the monotonic clock."""
    async for _ in trigger.run():
        return time.monotonic()
    raise RuntimeError("no event")


async def _crowd(make: Callable[[str], Any], count: int, root: Path) -> list[float]:
    """Return the share of a core, requests a second, most sockets, and the event loop's lag in seconds."""
    before = _descriptors()
    tasks = [asyncio.create_task(_event(make(song_id))) for song_id in _ids(count)]
    await asyncio.sleep(_SETTLING_SECONDS + count * _SETTLING_SECONDS_EACH)
    lags: list[float] = []
    most, polls = 0, count_polls(root)
    cpu, start = time.process_time(), time.monotonic()
    while (elapsed := time.monotonic() - start) < _WATCHED_SECONDS:
        woken = time.monotonic() + _LAG_SLEEP_SECONDS
        await asyncio.sleep(_LAG_SLEEP_SECONDS)
        lags.append(max(0.0, time.monotonic() - woken))
        # Counting thousands of sockets takes a while, so it is done seldom.
        if len(lags) % 10 == 0:
            most = max(most, _descriptors() - before)
    cpu, polls = time.process_time() - cpu, count_polls(root) - polls
    ended = sum(task.done() for task in tasks)
    if ended:
        raise RuntimeError(f"{ended} triggers have ended")
    return [cpu / elapsed, polls / elapsed, most, sorted(lags)[len(lags) * 99 // 100]]


async def _beside_a_hanging_api(count: int, root: Path) -> dict[str, float]:
    """Return how many of the triggers on a working API have told their end, and how late the latest was."""
    show_songs(root, _ids(count), "generating_audio")
    # Connections are accepted, by the kernel, and never answered.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        os.environ["AIRFLOW_CONN_HANGING"] = json.dumps({"conn_type": "riffusion", "host": host, "password": "t"})
        interval = _GROUP_INTERVAL_SECONDS
        hanging = [asyncio.create_task(_event(_ours(song_id, interval, "hanging"))) for song_id in _ids(count)]
        await asyncio.sleep(interval)
        working = [asyncio.create_task(_event(_ours(song_id, interval))) for song_id in _ids(count)]
        await asyncio.sleep(3 * interval)
        show_songs(root, _ids(count), "complete")
        ended = time.monotonic()
        told, _ = await asyncio.wait(working, timeout=_PATIENCE_INTERVALS * interval)
        # An end is seen an interval later even when nothing is late.
        late = [(task.result() - ended) / interval - 1 for task in told]
        for task in (*hanging, *working):
            task.cancel()
        return {"told": len(told), "latest": max(0.0, *late) if late else 0.0}


def _descriptors() -> int:
    """Count what this process has open; only sockets come and go while it waits."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a list of names is faster


def _measure(kind: str, count: int, root: Path) -> None:
    """Tell the figures, in a process of its own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    work = _beside_a_hanging_api(count, root) if kind == "hanging" else _crowd(_KINDS[kind], count, root)
    # Not asyncio.run(), which would wait for all that is left.
    tell(asyncio.new_event_loop().run_until_complete(work))
    # Threads may still wait for the API that hangs.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
