"""What Markdown documents hold, read by a parser rather than by patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token


def relative_targets(text: str) -> list[str]:
    """
    Return the links and pictures that lead nowhere when a document is shown far from its repository.

    :param text: the document
    """
    targets = (
        target for token in _tokens(MarkdownIt("commonmark").enable("table").parse(text)) for target in _targets(token)
    )
    return [target for target in targets if not target.startswith("https://")]


def fences(text: str) -> list[str]:
    """
    Return the blocks of code of a document.

    :param text: the document
    """
    return [token.content for token in MarkdownIt("commonmark").parse(text) if token.type == "fence"]


def _tokens(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _tokens(token.children or [])


def _targets(token: Token) -> list[str]:
    if token.type.startswith("html"):
        return re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", token.content)
    return [str(token.attrs[name]) for name in ("href", "src") if name in token.attrs]
