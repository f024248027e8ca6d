"""What an import brings with it, seen from a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

HEAVY = (
    "requests",
    "urllib3",
    "fsspec",
    "tenacity",
    "airflow_provider_riffusion.hooks.riffusion",
    "airflow_provider_riffusion.storage.storage",
    "airflow_provider_riffusion.transport.client",
    "airflow_provider_riffusion.triggers.riffusion",
)


def modules_after(code: str) -> list[str]:
    """Run code that prints modules, in a process whose lines coverage need not see."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("MODULES")[2].split()


def test_a_dag_file_pays_little_for_our_operators() -> None:
    modules = modules_after("""
        import sys
        import airflow.sdk
        from airflow.sdk import BaseOperator
        before = set(sys.modules)
        import airflow_provider_riffusion.operators.riffusion
        import airflow_provider_riffusion.sensors.riffusion
        print("MODULES", *sorted(set(sys.modules) - before))
    """)
    assert "airflow_provider_riffusion.operators.riffusion" in modules
    assert not set(modules) & set(HEAVY)


@pytest.mark.parametrize(
    ("module", "libraries"),
    [
        ("get_provider_info", ""),
        # Every airflow command imports it.
        ("cli.definition", ""),
        # Every pytest of a user's project imports it; pytest is there then.
        ("testing.pytest_plugin", "pytest"),
    ],
)
def test_what_others_import_at_their_start_imports_nothing_else(module: str, libraries: str) -> None:
    modules = modules_after(f"""
        import sys
        {libraries and "import " + libraries}
        before = set(sys.modules)
        import airflow_provider_riffusion.{module}
        added = set(sys.modules) - before
        print("MODULES", *(name for name in added if name.partition(".")[0] not in sys.stdlib_module_names))
    """)
    packages = ["airflow_provider_riffusion", f"airflow_provider_riffusion.{module.rpartition('.')[0]}".rstrip(".")]
    assert sorted(modules) == sorted({*packages, f"airflow_provider_riffusion.{module}"})


def test_the_testing_kit_does_not_need_pytest() -> None:
    assert not {"pytest", "airflow"} & set(
        modules_after("""
            import sys
            from airflow_provider_riffusion.testing import emulated_connection
            with emulated_connection() as emulator:
                print("MODULES", *sys.modules)
        """)
    )
