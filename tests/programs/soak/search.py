"""Search for a secret, in every form in which it could have leaked, in files and in every cell of a database."""

from __future__ import annotations

import base64
import mmap
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from cryptography.fernet import Fernet, InvalidToken

_EXCERPT = 160
_FERNET_TOKEN = re.compile(rb"gAAAA[\w-]+=*")


@dataclass(frozen=True)
class Finding:
    """
    A place where a secret is.

    :param place: file, or table and column
    :param form: in which form
    :param excerpt: what stands around it, with the secret taken out
    """

    place: str
    form: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.form} in {self.place}: {self.excerpt}"


@dataclass(frozen=True)
class Secret:
    """
    A value to search for.

    :param value: such as ``user:1234-abcdef…``; the part behind the last dash is found alone, too
    """

    value: str

    @cached_property
    def forms(self) -> dict[str, bytes]:
        """The forms to search for, by name."""
        tail = self.value.rpartition("-")[2]
        forms = {"plain": self.value, "URL-quoted": quote(self.value, safe=""), "JSON-escaped": _escaped(self.value)}
        # Cut short at either end, as an error message that is too long would be.
        forms |= {"first half": tail[: len(tail) // 2], "second half": tail[len(tail) // 2 :]}
        # At each of the three places at which it can begin within base64, without the characters its neighbours share.
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + self.value.encode()).decode().rstrip("=")
            forms[f"base64 at {shift}"] = encoded[(0, 2, 3)[shift] : -1]
        return {name: form.encode() for name, form in forms.items()}

    def in_bytes(self, content: bytes | mmap.mmap, place: str) -> Iterator[Finding]:
        """Yield the first place of each form in some bytes."""
        for name, form in self.forms.items():
            position = content.find(form)
            if position >= 0:
                yield Finding(place, name, self._excerpt(content, position))

    def in_file(self, path: Path, place: str) -> Iterator[Finding]:
        """Yield the first place of each form in a file, and in its name."""
        yield from self.in_bytes(place.encode(), f"the name {place}")
        if path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield from self.in_bytes(content, place)

    def in_database(self, database: Path, fernet_key: str, moment: str) -> Iterator[Finding]:
        """Yield each cell that holds a form, also compressed or encrypted."""
        fernet = Fernet(fernet_key)
        for table, column, cell in _cells(database):
            place = f"{moment}: {table}.{column}"
            yield from self.in_bytes(cell, place)
            for token in _FERNET_TOKEN.findall(cell):
                with suppress(InvalidToken):
                    yield from self.in_bytes(fernet.decrypt(token), f"{place}, decrypted")
            with suppress(zlib.error):
                yield from self.in_bytes(zlib.decompress(cell), f"{place}, decompressed")

    def _excerpt(self, content: bytes | mmap.mmap, position: int) -> str:
        start = max(content.rfind(b"\n", 0, position) + 1, position - _EXCERPT)
        end = content.find(b"\n", position)
        excerpt = content[start : min(end if end >= 0 else position + _EXCERPT, position + _EXCERPT)]
        for form in self.forms.values():
            excerpt = excerpt.replace(form, b"(here)")
        return excerpt.decode("utf-8", "backslashreplace")


def count_rows(database: Path, table: str) -> int:
    """Count the rows of a table."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute(f'select count(*) from "{table}"').fetchone()[0])


def _escaped(text: str) -> str:
    return "".join(character if character.isalnum() else f"\\u{ord(character):04x}" for character in text)


def _cells(database: Path) -> Iterator[tuple[str, str, bytes]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for table in sorted(name.decode() for (name,) in tables):
            rows = connection.execute(f'select * from "{table}"')
            columns = [name for name, *_ in rows.description]
            for row in rows:
                for column, cell in zip(columns, row, strict=True):
                    if isinstance(cell, bytes):
                        yield table, column, cell
