"""Look into the wheel and the sdist of the folder dist: ``python -m tests.programs.check_dist``."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

from tests.support.dag_runs import ROOT
from tests.support.markdown import relative_targets
from tests.support.report import Report

PACKAGE = "airflow_provider_riffusion"


def main() -> int:
    """Check both files, and return the exit code."""
    report = Report()
    dist = ROOT / "dist"
    check_wheel(next(dist.glob("*.whl")), report)
    check_sdist(next(dist.glob("*.tar.gz")), report)
    return 1 if report.problems else 0


def check_wheel(path: Path, report: Report) -> None:
    """Report whether a wheel holds the package and nothing else, and a description that an index can show."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        description = message_from_bytes(wheel.read(metadata)).get_payload(decode=True)
    report.title(path.name)
    needed = {str(file.relative_to(ROOT)) for file in (ROOT / PACKAGE).rglob("*.py")} | {f"{PACKAGE}/py.typed"}
    report.check_none("holds the package", sorted(needed - names))
    others = [name for name in sorted(names - needed) if not name.startswith(f"{metadata.rpartition('/')[0]}/")]
    report.check_none("holds nothing else", others)
    text = description.decode() if isinstance(description, bytes) else ""
    report.check_none("its long description has absolute links only", relative_targets(text), f"{len(text)} characters")


def check_sdist(path: Path, report: Report) -> None:
    """Report whether an sdist holds every file that git knows: documents, pictures, tests and examples."""
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    report.title(path.name)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # A link to a folder is a folder there.
    folders = {str(Path(name).parent) for name in names}
    missing = [name for name in listed.split("\0") if name and name not in names | folders]
    report.check_none("holds what git holds", missing, f"{len(names)} files")


if __name__ == "__main__":
    sys.exit(main())
