"""Make other people's text safe for a message."""

import json

#: Innocent words are shorter.
_QUOTED_CHARS = 16


def printable(text: str, length: int) -> str:
    """Cut a text, and replace what could break a log's lines, steer a terminal, or not be encoded."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:length])


def shown_value(value: object) -> str:
    """Show the start of any value, whatever its type and size."""
    try:
        return repr(value)[:120]
    except (RecursionError, ValueError):
        # repr() raises for JSON that is nested too deep and for numbers with more than 4,300 digits.
        return f"a {type(value).__name__} too large to show"


def without_quotes(text: str, secret: str) -> str:
    """Replace each part of a secret, of 16 characters or more, in a text, because a server may quote only a part."""
    # An error that is no text is shown as JSON, which escapes quotes.
    secret = f"{secret}\n{json.dumps(secret)[1:-1]}"
    position = 0
    while position < len(text):
        end = position
        while end < len(text) and text[position : end + 1] in secret:
            end += 1
        if end - position >= _QUOTED_CHARS:
            text, end = f"{text[:position]}***{text[end:]}", position + 3
        else:
            end = position + 1
        position = end
    return text
