from __future__ import annotations

import json
from importlib import metadata, resources
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name

import jsonschema
import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager

import airflow_provider_riffusion
from airflow_provider_riffusion.get_provider_info import EXTRAS, get_provider_info
from airflow_provider_riffusion.hooks.connection import DEFAULT_BASE_URL, ConnectionSettings
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from tests.support.airflow_version import needs_airflow


def test_it_has_the_form_that_airflow_wants() -> None:
    schema = json.loads(resources.files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_finds_it_by_its_entry_point() -> None:
    (found,) = (
        entry
        for entry in entry_points(group="apache_airflow_provider")
        if entry.value.startswith("airflow_provider_riffusion.")
    )
    assert found.load() is get_provider_info
    # Airflow ignores a provider whose package-name is not that of its distribution.
    assert found.dist is not None
    assert found.dist.name == get_provider_info()["package-name"]


def test_airflow_finds_the_commands_by_their_key() -> None:
    (name,) = get_provider_info()["cli"]
    (group,) = resolve_name(name)()
    assert group.name == "riffusion"
    assert [command.name for command in group.subcommands] == ["accounts", "account-cookie"]


def test_the_version_is_that_of_the_distribution() -> None:
    assert metadata.version("airflow-provider-riffusion") == airflow_provider_riffusion.__version__


@needs_airflow("3.3", "loads a provider's examples")
def test_airflow_loads_the_examples_as_a_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    folders = {bundle.name: bundle.path for bundle in DagBundlesManager().get_all_dag_bundles()}
    folder = Path(airflow_provider_riffusion.__file__).parent / "example_dags"
    assert folders["airflow-provider-riffusion-example-dags"] == folder
    assert list(folder.glob("*.py"))


def test_the_form_of_airflow_3_1_is_the_same_as_that_of_3_2() -> None:
    connection_type = get_provider_info()["connection-types"][0]
    behaviour = RiffusionHook.get_ui_field_behaviour()
    assert behaviour["hidden_fields"] == connection_type["ui-field-behaviour"]["hidden-fields"]
    assert behaviour["relabeling"]["password"] == "API token"
    # On 3.3.2 the form's test button refuses a connection that has no stored port.
    assert "port" not in behaviour["hidden_fields"]
    assert connection_type["connection-type"] == RiffusionHook.conn_type
    assert connection_type["hook-name"] == RiffusionHook.hook_name


def test_the_form_tells_units_and_the_defaults_that_are_in_force() -> None:
    default = ConnectionSettings(base_url=DEFAULT_BASE_URL, token="")
    for name, unit in {"timeout": "second", "low_speed_time": "second", "low_speed_limit": "bytes per second"}.items():
        label, kind, description = EXTRAS[name]
        assert unit in label
        assert kind == "number"
        assert description.endswith(f" Default: {getattr(default, name):g}.")
    placeholders = get_provider_info()["connection-types"][0]["ui-field-behaviour"]["placeholders"]
    assert placeholders["host"] == default.base_url
    # On 3.3.2 the form's test button refuses a connection that has no stored port, and only says "Bad Request".
    assert "443" in placeholders["port"]
    assert "Bad Request" in placeholders["port"]
