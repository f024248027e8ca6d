"""What a package index shows: README.md with the substitutions of pyproject.toml, which a build makes."""

from __future__ import annotations

import re
import tomllib

from tests.support.dag_runs import ROOT
from tests.support.markdown import fences, relative_targets

README = (ROOT / "README.md").read_text()


def long_description() -> str:
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
    text = README
    for substitution in hooks["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    return text


def test_an_index_shows_no_dead_link() -> None:
    assert relative_targets(README)
    assert not relative_targets(long_description())


def test_an_index_shows_the_same_code() -> None:
    assert fences(README)
    assert fences(long_description()) == fences(README)
