"""Debian's chromium, which looks at one Airflow."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from playwright.sync_api import Locator, sync_playwright

from tests.support.dag_runs import ROOT

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Long enough for a page on a busy machine.
_PATIENCE_MILLISECONDS = 60_000
#: After a page's last text has come: fonts, colours of code, and whatever moves.
_REST_MILLISECONDS = 1500
#: Whether a text that the page holds can be read: within the window, and within all that cuts off what it holds.
_IS_IN_SIGHT = """text => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
        const start = node.data.indexOf(text);
        if (start < 0) continue;
        const range = document.createRange();
        range.setStart(node, start);
        range.setEnd(node, start + text.length);
        const box = range.getBoundingClientRect();
        const isWithin = clip =>
            box.left >= clip.left - 1 && box.right <= clip.right + 1 &&
            box.top >= clip.top - 1 && box.bottom <= clip.bottom + 1;
        let isSeen = box.width > 0 && isWithin({ left: 0, top: 0, right: innerWidth, bottom: innerHeight });
        for (let element = node.parentElement; element && isSeen; element = element.parentElement) {
            const style = getComputedStyle(element);
            const isCut = style.display !== "inline" && style.overflow !== "visible";
            isSeen = !isCut || isWithin(element.getBoundingClientRect());
        }
        if (isSeen) return true;
    }
    return false;
}"""
#: Puts the places of any installation for those of this machine, so that a picture shows none of these.
_REPLACE = """names => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
        for (const [name, other] of names) node.data = node.data.replaceAll(name, other);
    }
}"""
_PLACES = (
    (sys.prefix, "/opt/airflow"),
    (str(ROOT), f"/opt/airflow/lib/python3.{sys.version_info.minor}/site-packages"),
)


class Browser:
    """
    A window of chromium, as a context manager.

    :param url: of the Airflow
    :param pictures: folder of the pictures
    :param places: places of this machine, and those that the pictures show instead
    """

    def __init__(self, url: str, pictures: Path, places: Mapping[str, str]) -> None:
        self._url, self._pictures = url, pictures
        self._places = [*_PLACES, *places.items()]

    def __enter__(self) -> Self:
        self._playwright = sync_playwright().start()
        self._chromium = self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=_ARGUMENTS, chromium_sandbox=False
        )
        self.page = self._chromium.new_page()
        self.page.set_default_timeout(_PATIENCE_MILLISECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._chromium.close()
        self._playwright.stop()

    def open(self, path: str, text: str, *, width: int = 1280, height: int = 800) -> None:
        """
        Open a page in a window of some size, and wait until it shows a text.

        :param path: below the URL of the Airflow
        :param text: what the page shows last
        :param width: in pixels
        :param height: in pixels
        """
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.goto(f"{self._url}/{path}")
        self.page.get_by_text(text).first.wait_for()
        self.rest()

    def rest(self) -> None:
        """Wait until nothing moves."""
        self.page.wait_for_timeout(_REST_MILLISECONDS)

    def is_in_sight(self, text: str) -> bool:
        """Return whether a part of one line can be read without scrolling and without opening anything."""
        return bool(self.page.evaluate(_IS_IN_SIGHT, text))

    def picture(self, name: str, of: Locator | None = None) -> Path:
        """
        Save a picture of the window.

        :param name: of the file, without its ending
        :param of: a part of the page, instead of the window
        """
        self.page.evaluate(_REPLACE, self._places)
        # Nothing that shows only because mouse or cursor are there.
        self.page.mouse.move(0, 0)
        self.page.evaluate("document.activeElement.blur()")
        path = self._pictures / f"{name}.png"
        (of or self.page).screenshot(path=path, animations="disabled")
        return path
