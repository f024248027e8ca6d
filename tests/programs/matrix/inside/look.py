"""Runs in a cell's environment: every module can be imported, and what is missing is named. Prints what is wrong."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import airflow_provider_riffusion
from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

PACKAGE = Path(airflow_provider_riffusion.__file__).parent
#: What a module may ask for that this environment need not have: its error says so.
OPTIONAL = ("No module named 'pytest'", "needs Airflow 3.3 or newer")
#: What needs each extra: stores, and a connection whose proxy is a SOCKS one.
WITH_EXTRA: dict[str, dict[str, str]] = {
    "s3": {"storage_path": "s3://bucket/songs"},
    "gcs": {"storage_path": "gs://bucket/songs"},
    "azure": {"storage_path": "abfs://container/songs"},
    "sftp": {"storage_path": "sftp://store@host/songs"},
    "socks": {"storage_path": str(Path.cwd() / "songs"), "riffusion_conn_id": "behind_socks"},
}


def wrong_modules() -> list[str]:
    """Return the modules of the package that cannot be imported, and why."""
    wrong = []
    for module in pkgutil.walk_packages([str(PACKAGE)], f"{PACKAGE.name}."):
        try:
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
        except ImportError as error:
            if not any(text in str(error) for text in OPTIONAL):
                wrong.append(f"{module.name}: {error}")
    return wrong


def unnamed_extras() -> list[str]:
    """Return the extras whose absence ends in something else than the command that installs them."""
    wrong = []
    for extra, parameters in WITH_EXTRA.items():
        download = RiffusionDownloadOperator(task_id="download", song_id="any", if_exists="skip", **parameters)
        try:
            download.execute({})
            wrong.append(f"[{extra}] is not missed")
        except RiffusionConfigurationError as error:
            if f"pip install 'airflow-provider-riffusion[{extra}]'" not in str(error):
                wrong.append(f"[{extra}]: {error}")
    return wrong


if __name__ == "__main__":
    problems = [*wrong_modules(), *unnamed_extras()]
    if not PACKAGE.is_relative_to(sys.prefix):
        problems.append(f"the package is not the wheel's: {PACKAGE}")
    if not (PACKAGE / "py.typed").exists():
        problems.append("py.typed is missing")
    sys.exit("\n".join(problems))
