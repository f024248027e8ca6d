"""Make other people's text safe for a message."""


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
