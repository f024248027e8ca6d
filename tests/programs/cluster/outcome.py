"""What came of a run: songs delivered, creates paid for, requests sent, tries of tasks that were hit, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from airflow_provider_riffusion.emulator.riffusion.models import AcceptedCreate
from airflow_provider_riffusion.emulator.server.request_log import LoggedRequest
from tests.support.memory import Samples


def paid_twice(creates: Iterable[AcceptedCreate]) -> list[str]:
    """Return what identifies the task instances whose create requests were accepted more than once."""
    # Behind the dash it is the request that is told from others.
    instances = Counter(str(create.body["replyRef"]).partition("-")[0] for create in creates)
    return sorted(instance for instance, count in instances.items() if count > 1)


def unpaid(tasks: Iterable[Mapping[str, Any]], creates: Iterable[AcceptedCreate]) -> list[int]:
    """
    Return the map indexes of the create tasks that have failed and for which nothing was paid.

    :param tasks: task instances of the REST API
    :param creates: the create requests that were accepted
    """
    paid = {create.body["prompt"] for create in creates}
    failed = [task for task in tasks if task["state"] == "failed" and "prompt" in task["rendered_fields"]]
    return [task["map_index"] for task in failed if task["rendered_fields"]["prompt"] not in paid]


def undelivered(creates: Iterable[AcceptedCreate], folder: Path, audio_of: Callable[[str], bytes]) -> list[str]:
    """
    Return the names of the songs that were paid for and are not in the folder, byte by byte.

    :param creates: the create requests that were accepted
    :param folder: where the songs should be
    :param audio_of: returns the whole wav of a song
    """
    missing = []
    for song_id in (song_id for create in creates for song_id in create.song_ids):
        path = folder / f"{song_id}.wav"
        if not path.exists():
            missing.append(f"{path.name} is missing")
        elif sha256(path.read_bytes()).digest() != sha256(audio_of(song_id)).digest():
            missing.append(f"{path.name} has other bytes than the server's")
    return missing


def requests_by_endpoint(requests: Iterable[LoggedRequest]) -> Mapping[str, int]:
    """Return how many requests reached each endpoint, and how each ended, in alphabetical order."""
    return dict(sorted(Counter(map(_endpoint, requests)).items()))


def _endpoint(request: LoggedRequest) -> str:
    name = request.path.strip("/").removeprefix("v1/riffusion/")
    by_id = " of an id" if name == "music" and request.song_id else ""
    return f"{request.method} {name}{by_id} -> {request.status or 'no response'}"


def tries_after(killed: Iterable[Mapping[str, Any]], at_the_end: Iterable[Mapping[str, Any]]) -> list[str]:
    """
    Return for each task instance that was hit how many more tries it took, and how it ended.

    :param killed: task instances of the REST API when they were hit
    :param at_the_end: all task instances
    """
    ended = {(task["task_id"], task["map_index"]): task for task in at_the_end}
    lines: Counter[str] = Counter()
    for before in killed:
        after = ended[before["task_id"], before["map_index"]]
        more = after["try_number"] - before["try_number"]
        lines[f"{before['task_id']}: {after['state']} after {more} more {'try' if more == 1 else 'tries'}"] += 1
    return [f"{count} of {line}" for line, count in sorted(lines.items())]


def peaks_by_kind(samples: Mapping[str, Samples]) -> Mapping[str, str]:
    """
    Return for each kind of node the most megabytes that one of its processes, and one with its children, has taken.

    :param samples: those of a :class:`MemoryWatch`; ``worker-1`` is a node of the kind ``worker``
    """
    peaks: dict[str, dict[str, float]] = {}
    for name, values in samples.items():
        node, _, what = name.partition(", ")
        of_kind = peaks.setdefault(node.rstrip("-0123456789"), {})
        of_kind[what or "alone"] = max(of_kind.get(what or "alone", 0), *(size for _, size in values))
    return {
        kind: ", ".join(f"{size:.0f} MB {what}" for what, size in sorted(found.items()))
        for kind, found in sorted(peaks.items())
    }
