"""What others have written, made fit for a message."""

from __future__ import annotations


def printable(text: str, length: int) -> str:
    """Cut a text, and replace what could break a log's lines, steer a terminal, or not be encoded."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:length])


def shown_value(value: object) -> str:
    """Show the start of a value that is wrong, of which nothing is known."""
    try:
        return repr(value)[:120]
    except (RecursionError, ValueError):
        # Nested too deep, or a number of more digits than Python turns into text.
        return f"a {type(value).__name__} too large to show"
