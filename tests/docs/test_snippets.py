"""What the documents show can be run as it stands, or at least read by the tool that it is for."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from airflow_provider_riffusion import __version__
from tests.support.dag_runs import ROOT
from tests.support.documents import DOCUMENTS, Snippet, snippets

PYTHON, DOCKERFILES, VALUES = snippets("python"), snippets("dockerfile"), snippets("yaml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_python_snippet_runs(snippet: Snippet) -> None:
    exec(compile(snippet.code, str(snippet), "exec"), {})


def test_a_dockerfile_names_instructions() -> None:
    (snippet,) = DOCKERFILES
    instructions = [line.split()[0] for line in snippet.code.splitlines() if line]
    assert instructions == ["FROM", "RUN"]
    assert re.findall(r"airflow-provider-riffusion\S*?==([\d.]+)", snippet.code) == [__version__]


def test_values_for_helm_are_yaml() -> None:
    (snippet,) = VALUES
    values = yaml.safe_load(snippet.code)
    assert {"images", "secret", "triggerer"} <= values.keys()


def test_every_extra_that_a_document_names_exists() -> None:
    texts = [document.read_text() for document in DOCUMENTS if document.name != "CHANGELOG.md"]
    named = {
        extra
        for text in texts
        for extras in re.findall(r"(?:`|airflow-provider-riffusion)\[([a-z0-9,]+)\][`'=\"]", text)
        for extra in extras.split(",")
    }
    assert named >= {"s3", "gcs", "azure", "sftp", "socks", "openlineage", "all"}
    assert named <= PROJECT["optional-dependencies"].keys()


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 700


def test_there_are_snippets() -> None:
    assert len(PYTHON) >= 10
