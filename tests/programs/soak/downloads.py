"""The soak: hundreds of mapped downloads from a server that goes wrong now and then."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.emulator.server.faults import REDIRECT_LOOP_PATH
from tests.programs.soak.deployment import SoakDeployment
from tests.programs.soak.plan import STRIKES, PlannedSong
from tests.support.memory import MemoryWatch, fifths, read_peaks
from tests.support.report import Report

_SECONDS_FOR_A_SONG = 2.5
_SECONDS_FOR_FAULTS = 300
#: Growth of the median between the first and the last fifth of the run.
_MOST_GROWTH = 1.25


def prepare(emulator: Emulator, plan: list[PlannedSong]) -> None:
    """Give the emulator its songs and faults."""
    for planned in plan:
        emulator.add_song(planned.song)
        for strike in planned.strikes:
            emulator.fault(strike.what, times=1, path="music/download", song_id=planned.song.id, **strike.parameters)


def cases(plan: list[PlannedSong]) -> list[dict[str, str]]:
    """Return the arguments of each mapped task."""
    return [{"song_id": it.song.id, "download_format": it.download_format} for it in plan]


def run(deployment: SoakDeployment, emulator: Emulator, plan: list[PlannedSong], folder: Path, report: Report) -> None:
    """Run the DAG ``soak`` and check what it has done."""
    report.title(f"Soak: {len(plan)} mapped downloads")
    start = time.monotonic()
    with MemoryWatch(deployment.processes) as watch:
        deployment.trigger("soak", "soak")
        state = deployment.wait_for_run("soak", _SECONDS_FOR_FAULTS + _SECONDS_FOR_A_SONG * len(plan))
    report.check("state of the DAG run", state == "success", f"{state} after {time.monotonic() - start:.0f} s")
    _check_tasks(deployment, plan, report)
    _check_requests(emulator, plan, report)
    _check_files(emulator, plan, folder, report)
    _check_results(deployment, plan, folder, report)
    _check_memory(watch, read_peaks(deployment.home / "peaks"), len(plan), report)


def _check_tasks(deployment: SoakDeployment, plan: list[PlannedSong], report: Report) -> None:
    rows = deployment.query(
        "select map_index, state, try_number from task_instance where dag_id = 'soak' and task_id = 'download'"
    )
    states = Counter(state for _, state, _ in rows)
    report.check("task instances that succeeded", states == {"success": len(plan)}, dict(states))
    tries = {number: count for number, _, count in rows}
    wrong = [
        f"{it.song.id} took {tries.get(number)} tries instead of {it.tries}"
        for number, it in enumerate(plan)
        if tries.get(number) != it.tries
    ]
    total = sum(tries.values())
    report.check_none("tries of each task", wrong, f"{total} in all, {total - len(rows)} of them retries of Airflow")


def _check_requests(emulator: Emulator, plan: list[PlannedSong], report: Report) -> None:
    requests = emulator.requests
    struck = Counter(str(strike) for it in plan for strike in it.strikes)
    for name, count in sorted(struck.items()):
        report.note(f"struck by {name}", count)
    report.note(
        "sorts of faults that had no turn", ", ".join(sorted({str(it) for it in STRIKES} - struck.keys())) or "none"
    )
    downloads = Counter(request.song_id for request in requests if "music/download" in request.path)
    share = sum(struck.values()) / (sum(downloads.values()) or 1)
    report.note("requests for downloads", sum(downloads.values()))
    report.note("of them struck", f"{sum(struck.values())}, {share:.1%}, by {len(struck)} sorts of faults")
    wrong = [
        f"{it.song.id} took {downloads[it.song.id]} requests instead of {it.requests} ({_names(it)})"
        for it in plan
        if downloads[it.song.id] != it.requests
    ]
    expected = sum(it.requests for it in plan)
    report.check_none("requests of each song", wrong, f"1 and 1 for each that was struck in earnest, {expected} in all")
    loops = sum(request.path == REDIRECT_LOOP_PATH for request in requests)
    expected_loops = sum(it.loop_requests for it in plan)
    report.check("requests in redirect loops", loops == expected_loops, f"{loops} of {expected_loops}")
    others = len(requests) - sum(downloads.values()) - loops
    report.check("other requests", others == 0, others)


def _names(planned: PlannedSong) -> str:
    return ", ".join(map(str, planned.strikes))


def _check_files(emulator: Emulator, plan: list[PlannedSong], folder: Path, report: Report) -> None:
    stored = {str(path.relative_to(folder)): path for path in folder.rglob("*") if not path.is_dir()}
    wrong, size = [], 0
    for it in plan:
        for name, content in _expected_files(emulator, it).items():
            path = stored.pop(name, None)
            if path is None:
                wrong.append(f"{name} is missing")
            elif content is not None and path.read_bytes() != content:
                wrong.append(f"{name} has {path.stat().st_size} bytes, other than the {len(content)} of the server")
            else:
                size += path.stat().st_size
    report.check_none("stored files, byte by byte", wrong, f"{size / 1e6:.1f} MB")
    report.check_none("files that nobody asked for, hidden ones included", sorted(stored), "none")
    folders = {path.name for path in folder.rglob("*") if path.is_dir()}
    report.check_none(
        "folders that nobody asked for",
        sorted(folders - {f"{it.song.id}.stems" for it in plan if it.download_format == "stems"}),
        "none",
    )


def _expected_files(emulator: Emulator, planned: PlannedSong) -> dict[str, bytes | None]:
    """Return names and contents; None for the manifest, which the results tell."""
    song_id, download_format = planned.song.id, planned.download_format
    if download_format != "stems":
        return {f"{song_id}.{download_format}": emulator.audio(song_id, download_format)}
    stems = {f"{song_id}.stems/{name}.m4a": content for name, content in emulator.stems(song_id).items()}
    return {**stems, f"{song_id}.stems/manifest.json": None}


def _check_results(deployment: SoakDeployment, plan: list[PlannedSong], folder: Path, report: Report) -> None:
    rows = deployment.query(
        "select map_index, value from xcom where dag_id = 'soak' and task_id = 'download' and key = 'return_value'"
    )
    results = {number: json.loads(value) for number, value in rows}
    wrong = []
    for number, it in enumerate(plan):
        result = results.get(number, {})
        name = f"{it.song.id}.{it.download_format}"
        file = folder / name / "manifest.json" if it.download_format == "stems" else folder / name
        digest = None
        with suppress(OSError):
            digest = sha256(file.read_bytes()).hexdigest()
        if (result.get("path"), result.get("sha256")) != (str(folder / name), digest):
            wrong.append(f"{name}: the XCom says {result}")
    report.check_none("results of the tasks, path and SHA-256", wrong)


def _check_memory(watch: MemoryWatch, peaks: list[tuple[float, float]], count: int, report: Report) -> None:
    report.check("tasks that told their peak memory", len(peaks) == count, len(peaks))
    if peaks:
        first, last = fifths(peaks)
        report.check(
            "peak memory of tasks, medians of the first and last fifth of the run",
            last <= _MOST_GROWTH * first,
            f"{first:.0f} and {last:.0f} MB, ratio {last / first:.2f}; largest {max(size for _, size in peaks):.0f} MB",
        )
    for name, samples in sorted(watch.samples.items()):
        first, last = fifths(samples)
        report.note(f"resident memory of {name}", f"{first:.0f} and {last:.0f} MB, ratio {last / first:.2f}")
