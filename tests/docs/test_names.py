"""The files, make targets and rooms that the documents name exist."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.dag_runs import ROOT
from tests.support.documents import DOCUMENTS, text_of
from tests.unit.test_house import FLOORS, NAME, PACKAGE

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", document.read_text()):
        name, _, heading = link.partition("#")
        path = Path(os.path.normpath(document.parent / name)) if name else document
        # A repository's web page opens no path that leads through a symbolic link.
        assert path.exists(), link
        assert path == path.resolve(), link
        headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE) if heading else []
        assert not heading or heading in [title.lower().replace(" ", "-") for title in headings], link


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / ".ci/run"], ids=lambda path: path.name)
def test_make_has_the_targets(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= set(targets)


def test_the_house_is_the_one_that_the_imports_are_held_to() -> None:
    rows = re.findall(r"^\| (`.+?) \|", CONTRIBUTING.partition("| Rooms")[2].partition("\n\n")[0], re.MULTILINE)
    rooms = [{name.removesuffix(".py") for name in re.findall(r"`(.+?)`", row)} for row in rows]
    assert rooms == [*({*floor} - {NAME} for floor in reversed(FLOORS)), {"emulator"}]


def test_the_files_to_open_are_there() -> None:
    names = re.findall(r"`([\w/]+\.py)`", CONTRIBUTING)
    assert len(names) >= 10
    assert not [name for name in names if not (PACKAGE / name).exists() and not (ROOT / name).exists()]


@pytest.mark.parametrize(
    "module", ["operators.riffusion", "sensors.riffusion", "triggers.riffusion", "links.riffusion", "emulator"]
)
def test_the_reference_has_every_public_class(module: str) -> None:
    found = import_module(f"{NAME}.{module}")
    classes = {name for name, value in vars(found).items() if getattr(value, "__module__", "") == found.__name__}
    names = set(vars(found).get("__all__", ())) or {name for name in classes if name.startswith("Riffusion")}
    pages = "".join(path.read_text() for path in (ROOT / "docs/reference").glob("*.md"))
    assert names
    assert names <= set(re.findall(r"auto(?:class|function):: (?:[\w.]+\.)?(\w+)", pages))
