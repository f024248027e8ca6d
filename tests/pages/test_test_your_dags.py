"""The files that docs/test-your-dags.md shows are a user's project whose tests pass."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.dag_runs import ROOT

#: Each is a fence whose first line names the file.
FILES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", (ROOT / "docs/test-your-dags.md").read_text(), re.DOTALL))
#: What pytest loads by itself where the package is installed.
PLUGIN = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]["riffusion"]
#: What a pytest within pytest leaves to the outer one; the second collects garbage for seconds.
QUICK = ["-p", "no:faulthandler", "-p", "no:unraisableexception"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    # The project's conftest says where the DAGs are; what pytest and the conftest change here ends with the test.
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    for name in ("AIRFLOW_HOME", "AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__CORE__LOAD_EXAMPLES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("sys.path", [*sys.path])
    for name in FILES:
        monkeypatch.setitem(sys.modules, Path(name).stem, None)
        del sys.modules[Path(name).stem]
    return tmp_path


@pytest.mark.usefixtures("airflow_db")
def test_the_project_of_the_page_passes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: another one would take ten seconds to import Airflow and to migrate a database of its own."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    # Airflow would look for a second through all tables that are there already.
    migrations: list[None] = []
    monkeypatch.setattr("airflow.utils.db.initdb", lambda: migrations.append(None))
    found: list[str] = []

    class Reports:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or not report.passed:
                found.append(f"{report.nodeid.rpartition('::')[2]} {report.outcome}")

    options = ["-c", os.devnull, f"--rootdir={project}", "-s", "-p", "no:cacheprovider"]
    pytest.main([*options, *QUICK, "-p", PLUGIN, str(project / "tests")], plugins=[Reports()])
    written = re.findall(r"^def (test_\w+)", "\n".join(FILES.values()), re.MULTILINE)
    assert sorted(found) == sorted(f"{name} passed" for name in written)
    assert len(found) >= 5
    assert len(migrations) == 1
