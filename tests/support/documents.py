"""The documents, and the snippets in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.dag_runs import ROOT

PAGES = sorted(ROOT.glob("docs/**/*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES, ROOT / ".github/pull_request_template.md"]
#: tests/pages/test_test_your_dags.py runs the snippets of this page, which are tests.
TESTS_PAGE = ROOT / "docs/test-your-dags.md"

#: The variable with the folder where the songs of the snippets go, in place of ``/tmp/songs`` or a bucket.
SNIPPETS_FOLDER = "SNIPPETS_FOLDER"

_INCLUDE = re.compile(r"```{include} (\S+)")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def text_of(document: Path) -> str:
    """Return the text of a document, or of the one that it includes."""
    text = document.read_text()
    include = _INCLUDE.search(text)
    return (document.parent / include[1]).read_text() if include else text


@dataclass(frozen=True)
class Snippet:
    """
    A piece of code in a document.

    :param document: the file
    :param line: the line on which it starts
    :param code: the text
    """

    document: Path
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def snippets(language: str) -> list[Snippet]:
    """Return the snippets of a language in all documents; of Python, those of the page of tests are left out."""
    return [
        Snippet(document, text.count("\n", 0, fence.start()) + 2, fence[2])
        for document in DOCUMENTS
        if language != "python" or document != TESTS_PAGE
        for text in (document.read_text(),)
        for fence in _FENCE.finditer(text)
        if fence[1] == language
    ]
