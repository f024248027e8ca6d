"""What each screen of Airflow's UI must show of this provider."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from playwright.sync_api import Error

from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.get_provider_info import EXTRAS, get_provider_info
from tests.programs.ui.browser import Browser
from tests.support.deployment import Deployment
from tests.support.report import Report

RUN = "first"
#: As many as the grid shows beside a log.
RUNS = (RUN, "second", "third")
#: The most bytes of a picture, because each is a part of every checkout.
_MAX_PICTURE_BYTES = 150_000


@dataclass(frozen=True)
class Screens:
    """
    Looks at one screen after the other.

    :param browser: the browser
    :param deployment: the Airflow, whose runs have come as far as they get
    :param report: gets what is seen
    :param songs: the emulator whose account is healthy
    :param broken: the one whose account is broken
    :param slow: the one whose song is never finished
    """

    browser: Browser
    deployment: Deployment
    report: Report
    songs: Emulator
    broken: Emulator
    slow: Emulator

    def look(self) -> None:
        """Look at all screens."""
        for screen in (
            self.connection_form,
            self.test_button,
            self.log_of_a_596,
            self.rendered_templates,
            self.log_of_a_deferred_task,
            self.link_of_a_deferred_task,
            self.xcom,
            self.asset,
            self.grid,
        ):
            self.report.title(screen.__name__.replace("_", " "))
            try:
                screen()
            except Error as error:
                self.report.check("the screen", False, error)

    def connection_form(self) -> None:
        """Labels, units and defaults are there, without a manual."""
        page = self.browser.page
        self.browser.open("connections", "Add Connection", height=2000)
        page.get_by_role("button", name="Add Connection").click()
        page.locator("[name=connection_id]").fill("riffusion_default")
        page.get_by_role("combobox").last.fill("Riffusion")
        page.keyboard.press("Enter")
        behaviour = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
        form = page.get_by_role("dialog")
        page.get_by_text("API token").wait_for()
        labels = behaviour["relabeling"].values()
        self._check_all("labels of the standard fields", labels, form.inner_text().__contains__)
        placeholders = [text for field, text in behaviour["placeholders"].items() if field != "extra"]
        self._check_all("placeholders", placeholders, lambda text: form.get_by_placeholder(text).is_visible())
        self.browser.rest()
        self._picture("connection-form", of_dialog=True)
        page.get_by_role("button", name="Extra Fields", exact=True).click()
        page.get_by_text(EXTRAS["headers"][2]).wait_for()
        for number, what in ((0, "labels"), (2, "units, defaults and help")):
            texts = [texts[number] for texts in EXTRAS.values()]
            self._check_all(f"{what} of the extra fields", texts, form.inner_text().__contains__)
        self.browser.rest()
        self._picture("connection-form-extras", of_dialog=True)

    def test_button(self) -> None:
        """The button tells a good token from a wrong one, a broken account and a server that nobody can reach."""
        good, broken = self.songs, self.broken
        cases = {
            "good": (good.url, good.token, "The API token is good; healthy accounts: user-1"),
            "wrong_token": (good.url, "user:1234-wrong", "The API refused the token (HTTP 401)"),
            "broken": (broken.url, broken.token, "account user-1 is broken: pending error (HTTP 596)"),
            "unreachable": ("http://127.0.0.1:1", good.token, "Connection refused"),
        }
        for name, (url, token, _) in cases.items():
            address = urlsplit(url)
            self._add_connection(name, f"{address.scheme}://{address.hostname}", address.port, token)
        # Airflow 3.3.2 sends port 0 for none, finds another one stored than it was sent, and asks nobody.
        cases["without_port"] = (good.url, good.token, "Bad Request")
        self._add_connection("without_port", good.url, None, good.token)
        self.browser.open("connections", "without_port")
        for name, (_, _, expected) in cases.items():
            row = self.browser.page.get_by_role("row").filter(has=self.browser.page.get_by_text(name, exact=True))
            row.get_by_role("button", name="Test Connection").click()
            toast = self.browser.page.locator("[data-scope=toast][data-part=root]")
            toast.wait_for()
            text = " ".join(toast.inner_text().split())
            self.report.check(f"{name}: {expected!r}", expected in text, text)
            toast.wait_for(state="hidden")

    def log_of_a_596(self) -> None:
        """Who opens the log of the failed task reads at once what to do."""
        self.browser.open(f"dags/broken_account/runs/{RUN}/tasks/download", "Task failed with exception", height=640)
        self._check_in_sight(
            "The Riffusion account is broken: pending error (HTTP 596).",
            "Post a fresh cookie, then clear the failed tasks.",
            "https://useapi.net/docs/api-riffusion-v1/post-riffusion-accounts",
        )
        # The vendor's words are long, and come last; that their end is not in sight shows that the look is a real one.
        self.report.check("cut off", not self.browser.is_in_sight("before making any new API calls"))
        self._picture("log-596")

    def rendered_templates(self) -> None:
        """Prompts are JSON, and lyrics have come from their file."""
        path = f"dags/composed_song/runs/{RUN}/tasks/compose/rendered_templates"
        self.browser.open(path, "lyrics")
        self._check_in_sight('"a slow waltz for 20', '"strength"', "Midnight harbor, 20", "Sing it to the sea")
        self._picture("rendered-templates")

    def log_of_a_deferred_task(self) -> None:
        """The log of a task that waits in the triggerer says what for, and until when."""
        self.browser.open(f"dags/composed_song/runs/{RUN}/tasks/compose", "is still in the job list", height=560)
        ((create,),) = (accepted.job_ids for accepted in self.slow.accepted_creates)
        self._check_in_sight(f"Created {create}", f"The triggerer waits for {create} until 20", f"{create} is still in")
        self._picture("deferred-log")

    def link_of_a_deferred_task(self) -> None:
        """The page of a song can be opened while its task still waits."""
        self.browser.open(f"dags/composed_song/runs/{RUN}/tasks/compose/details", "Trigger class")
        self._check_in_sight("Riffusion song")
        url = self.browser.page.get_by_role("link", name="Riffusion song").get_attribute("href")
        self.report.check("leads to the song", str(url).startswith("https://www.riffusion.com/song/"), url)

    def xcom(self) -> None:
        """The result of a download is small, and readable."""
        self.browser.open(f"dags/song_of_the_day/runs/{RUN}/tasks/download/mapped/0/xcom", "return_value")
        self.browser.page.get_by_role("button", name="Expand all extra JSON").click()
        self.browser.page.get_by_text("content_type").wait_for()
        self.browser.rest()
        self._check_in_sight('"song_id"', '"path"', '"size"', '"sha256"', '"content_type"')

    def asset(self) -> None:
        """The download of a song has started another DAG, and the file's own page shows how."""
        self.browser.open(f"dags/new_song/runs/{RUN}/tasks/download/asset_events", "Triggered Dag Run")
        file = self.browser.page.get_by_role("link", name="midnight-harbor.mp3")
        self._check_in_sight("songs/midnight-harbor.mp3", "on_new_song")
        file.click()
        self.browser.page.get_by_text("Scheduled Dags").wait_for()
        self.browser.rest()
        self._check_in_sight("songs/midnight-harbor.mp3", "1 Asset Event", "on_new_song")
        self._picture("asset")

    def grid(self) -> None:
        """The picture of the README: a few days, and the log of a create request."""
        self.browser.open(f"dags/song_of_the_day/runs/{RUN}", "Task Instances", width=1440)
        names = [task["rendered_map_index"] for task in self.deployment.task_instances("song_of_the_day")]
        names = [name for name in names if str(name).startswith("song ")]
        self.report.check("each download has the name of its song", len(set(names)) == 2 * len(RUNS), names)
        self.browser.open(f"dags/song_of_the_day/runs/{RUN}/tasks/create", "is 'complete'", width=1440, height=560)
        self._check_in_sight("download", "Created ", "s left: song ")
        self._picture("grid")

    def _add_connection(self, name: str, host: str, port: int | None, token: str) -> None:
        fields = {"connection_id": name, "conn_type": "riffusion", "host": host, "port": port, "password": token}
        self.deployment.call("POST", "connections", fields)

    def _check_in_sight(self, *texts: str) -> None:
        self._check_all("in sight, without scrolling", texts, self.browser.is_in_sight)

    def _check_all(self, what: str, texts: Iterable[str], is_there: Callable[[str], bool]) -> None:
        missing = [text for text in texts if not is_there(text)]
        self.report.check_none(what, missing)

    def _picture(self, name: str, *, of_dialog: bool = False) -> None:
        path = self.browser.picture(name, self.browser.page.get_by_role("dialog") if of_dialog else None)
        size = path.stat().st_size
        self.report.check(f"picture {path}", size <= _MAX_PICTURE_BYTES, f"{size} bytes")
