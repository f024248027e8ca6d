"""The sensors, against the emulator: every end means the same in every mode."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Account, Emulator, Song
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor, RiffusionSongSensor
from tests.support.creating import run_trigger, trigger_of
from tests.support.raw_server import response, serve
from tests.support.relay import relaying

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(generation_seconds=0.05) as running:
        yield running


ENDINGS: dict[str, Callable[[Emulator], object]] = {
    "done": lambda emulator: emulator.set_song_status("song", "complete"),
    "song failed": lambda emulator: emulator.set_song_status("song", "failed"),
    "timeout": lambda emulator: None,
    "596": lambda emulator: emulator.break_account("user-1"),
    "401": lambda emulator: emulator.fault("status", status=401),
    "unreachable": lambda emulator: emulator.fault("reset"),
    "400": lambda emulator: emulator.fault("status", status=400),
}


FLAGS = [{}, {"soft_fail": True}, {"never_fail": True}, {"silent_fail": True}]


def expected(ending: str, flags: dict[str, bool]) -> type[BaseException] | None:
    """The table of the README."""
    skipped: type[BaseException] = AirflowSkipException
    timed_out: type[BaseException] = AirflowSensorTimeout
    soft, never, silent = (flags.get(f"{name}_fail", False) for name in ("soft", "never", "silent"))
    if ending == "done":
        return None
    if ending in ("timeout", "unreachable") or (silent and ending == "400"):
        return skipped if soft else timed_out
    if ending in ("song failed", "596", "401"):
        final: dict[str, type[BaseException]] = {
            "song failed": errors.RiffusionSongFailedError,
            "596": errors.RiffusionPendingError,
            "401": errors.RiffusionUnauthorizedError,
        }
        return skipped if soft or never else final[ending]
    if never:
        return skipped
    return errors.RiffusionBadRequestError


def waited(sensor: RiffusionSongSensor) -> Any:
    """Return the result of a sensor, which may defer."""
    try:
        return sensor.execute({})
    except TaskDeferred as deferral:
        return sensor.resume_execution("execute_complete", {"event": run_trigger(trigger_of(deferral))}, {})


@pytest.mark.parametrize("mode", ["poke", "deferred"])
@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: "".join(flags) or "plain")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_deferred_sensor_ends_as_in_poke_mode(
    emulator: Emulator, ending: str, flags: dict[str, bool], mode: str
) -> None:
    emulator.add_song(Song("song", status="queued"))
    ENDINGS[ending](emulator)
    is_waited_over = ending in ("timeout", "unreachable") or (ending == "400" and "silent_fail" in flags)
    sensor = RiffusionSongSensor(
        task_id="t",
        song_id="song",
        poke_interval=0.05,
        timeout=0.2 if is_waited_over else 20,
        deferrable=mode == "deferred",
        **flags,
    )

    error_class = expected(ending, flags)
    if error_class is None:
        assert [song["id"] for song in waited(sensor)] == ["song"]
    else:
        with pytest.raises(error_class) as caught:
            waited(sensor)
        assert type(caught.value) is error_class


def test_a_trigger_that_times_out_or_breaks_ends_as_airflow_means_it(emulator: Emulator) -> None:
    sensor = RiffusionSongSensor(task_id="t", song_id="song")
    with pytest.raises(AirflowSensorTimeout):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, {})


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_sensors_timeout_names_song_status_and_failure(
    emulator: Emulator, connect: Callable[..., None], deferrable: bool
) -> None:
    emulator.add_song(Song("song", status="queued"))

    def fail(_: str) -> None:
        if emulator.count() == 2:
            emulator.fault("status", status=503)

    sensor = RiffusionSongSensor(task_id="t", song_id="song", poke_interval=0.05, timeout=0.5, deferrable=deferrable)
    with relaying(emulator, after=fail) as front:
        connect(front.url, emulator.token)
        with pytest.raises(AirflowSensorTimeout, match=r"(?s)song song is 'queued'.*HTTP 503"):
            waited(sensor)


def test_a_sensor_in_reschedule_mode_waits_over_any_number_of_failures(emulator: Emulator) -> None:
    emulator.fault("reset")
    for _ in range(7):
        sensor = RiffusionSongSensor(task_id="t", song_id="song", mode="reschedule", poke_interval=1)
        assert not sensor.poke({})


def test_a_sensor_in_reschedule_mode_looks_twice_before_a_job_is_complete(emulator: Emulator) -> None:
    hook = RiffusionHook()
    (job_id,) = hook.create(hook.create_request({"prompt": "x"}))
    while hook.get_scheduler():
        time.sleep(0.02)
    emulator.clear()
    sensor = RiffusionSongSensor(task_id="t", song_id=job_id, mode="reschedule", poke_interval=0.1)
    found = sensor.poke({}).xcom_value
    assert found is not None
    assert len(found) == 2
    assert emulator.count("/v1/riffusion/music") == 2


def test_a_sensor_waits_as_long_as_the_response_asks(emulator: Emulator) -> None:
    emulator.add_song(Song("song"))
    emulator.fault("status", status=429, retry_after="1", times=1)
    start = time.monotonic()
    RiffusionSongSensor(task_id="t", song_id="song", poke_interval=0.05, timeout=20).execute({})
    assert time.monotonic() - start > 1
    assert emulator.count() == 2


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_song_sensor_does_not_wait_over_what_ends_a_task_at_once(
    connect: Callable[..., None], deferrable: bool
) -> None:
    with serve(response("HTTP/1.1 200 OK\nContent-Length: 1000000000000", b"[")) as server:
        connect(server.url, "user:token")
        sensor = RiffusionSongSensor(task_id="t", song_id="song", poke_interval=0.05, deferrable=deferrable)
        with pytest.raises(errors.RiffusionTooLargeError):
            sensor.execute({})
    assert len(server.requests) == 1


def test_the_account_sensor_does_not_wait_over_what_ends_a_task_at_once(connect: Callable[..., None]) -> None:
    with serve(response("HTTP/1.1 200 OK\nContent-Length: 1000000000000", b"{")) as server:
        connect(server.url, "user:token")
        with pytest.raises(errors.RiffusionTooLargeError):
            RiffusionAccountSensor(task_id="t", poke_interval=0.05).execute({})
    assert len(server.requests) == 1


@pytest.mark.parametrize("wait_for_repair", [False, True])
def test_the_account_sensor(emulator: Emulator, connect: Callable[..., None], wait_for_repair: bool) -> None:
    sensor = RiffusionAccountSensor(task_id="t", wait_for_repair=wait_for_repair, poke_interval=0.05, timeout=20)
    sensor.execute({})
    emulator.break_account("user-1")
    emulator.clear()
    if wait_for_repair:

        def repair(_: str) -> None:
            if emulator.count() == 3:
                emulator.repair_account("user-1")

        with relaying(emulator, after=repair) as front:
            connect(front.url, emulator.token)
            RiffusionAccountSensor(task_id="t", wait_for_repair=True, poke_interval=0.05, timeout=20).execute({})
        assert emulator.count() == 4
    else:
        with pytest.raises(errors.RiffusionPendingError):
            sensor.execute({})
        assert emulator.count() == 1


def test_the_account_sensor_and_faults(emulator: Emulator, connect: Callable[..., None]) -> None:
    sensor = RiffusionAccountSensor(task_id="t", poke_interval=0.05, wait_for_repair=True)
    emulator.fault("reset", times=4)
    sensor.execute({})
    emulator.fault("reset")
    with pytest.raises(AirflowSensorTimeout, match="The last poll failed"):
        RiffusionAccountSensor(task_id="t", poke_interval=0.05, timeout=0.2).execute({})
    emulator.clear()
    emulator.fault("status", status=596)
    with pytest.raises(errors.RiffusionPendingError):
        RiffusionAccountSensor(task_id="t").execute({})
    emulator.clear()
    connect(emulator.url, "wrong")
    with pytest.raises(errors.RiffusionUnauthorizedError):
        RiffusionAccountSensor(task_id="t", wait_for_repair=True).execute({})


def test_the_account_sensor_looks_at_the_account_it_is_told(connect: Callable[..., None]) -> None:
    with Emulator(accounts=[Account("a"), Account("b", error="pending")]) as emulator:
        connect(emulator.url, emulator.token)
        RiffusionAccountSensor(task_id="t", user_id="a").execute({})
        with pytest.raises(errors.RiffusionPendingError, match="b"):
            RiffusionAccountSensor(task_id="t").execute({})
        with pytest.raises(errors.RiffusionConfigurationError, match="'c'"):
            RiffusionAccountSensor(task_id="t", user_id="c").execute({})


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_songs_page_is_shown_while_a_sensor_still_waits(emulator: Emulator, deferrable: bool) -> None:
    emulator.add_song(Song("song", status="queued"))
    sensor = RiffusionSongSensor(task_id="t", song_id="song", deferrable=deferrable)
    pushed: list[str] = []

    class Ti:
        def xcom_push(self, key: str, value: str) -> None:
            pushed.append(value)

    context: Any = {"ti": Ti(), "task": sensor}
    sensor.pre_execute(context)
    if deferrable:
        with pytest.raises(TaskDeferred):
            sensor.execute(context)
    else:
        assert not sensor.poke(context)
    assert [page.rpartition("/")[2] for page in pushed] == ["song"]
