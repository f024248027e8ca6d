"""What an import brings with it, seen from a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

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


def test_the_provider_info_imports_nothing_else() -> None:
    modules = modules_after("""
        import sys
        from airflow_provider_riffusion.get_provider_info import get_provider_info
        print("MODULES", *(name for name in sys.modules if name.startswith(("airflow", "requests"))))
    """)
    assert modules == ["airflow_provider_riffusion", "airflow_provider_riffusion.get_provider_info"]
