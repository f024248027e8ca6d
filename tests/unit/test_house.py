"""The directions of the imports, read from the code: imports in functions and under TYPE_CHECKING count, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "airflow_provider_riffusion"
NAME = PACKAGE.name
#: From the ground up; a room may import from lower floors, and from its own folder.
FLOORS = (
    ("exceptions", "get_provider_info", "safe_text", NAME),
    ("parameters",),
    ("audio", "transport", "storage"),
    ("useapi",),
    ("hooks",),
    ("links",),
    ("tasks",),
    ("triggers",),
    ("operators", "sensors", "retry_policy"),
    ("example_dags", "cli"),
    ("__main__", "testing"),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
#: The only rooms that may import a library; the errors' module may import Airflow's AirflowFailException.
LIBRARIES = {
    "requests": {"transport"},
    "urllib3": {"transport"},
    "tenacity": {"transport"},
    "boto3": {"storage"},
    "botocore": {"storage"},
    "fsspec": {"storage"},
    "openlineage": {"tasks"},
    "pytest": {"testing"},
    "airflow": {"exceptions", "storage", "hooks", "links", "tasks", "triggers", *FLOORS[-3], *FLOORS[-2]},
}


def modules() -> dict[str, Path]:
    """Return the files of the package by their dotted name within it; the package's own name is its root."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__") or NAME] = path
    return found


MODULES = modules()


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return what a module imports: names within the package, and the top-level names of libraries."""
    return frozenset(_imports(ast.parse(MODULES[module].read_text())))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (_shortened(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            base = node.module or ""
            for alias in node.names:
                name = f"{base}.{alias.name}".removeprefix(f"{NAME}.")
                yield name if name in MODULES else _shortened(base)


def _shortened(name: str) -> str:
    if name == NAME or name.startswith(f"{NAME}."):
        return name.removeprefix(f"{NAME}.")
    return name.partition(".")[0]


def room_of(module: str) -> str:
    return module.partition(".")[0]


ROOMS = [module for module in MODULES if room_of(module) != "emulator"]
OF_THE_EMULATOR = [module for module in MODULES if room_of(module) == "emulator"]


@pytest.mark.parametrize("module", ROOMS)
def test_a_module_imports_only_from_lower_floors_and_its_own_folder(module: str) -> None:
    room = room_of(module)
    for imported in imports_of(module) & MODULES.keys():
        other = room_of(imported)
        # So that the emulator could move out.
        assert other != "emulator" or room == "testing"
        assert other in (room, "emulator") or FLOOR_OF[other] < FLOOR_OF[room], f"{module} imports {imported}"
        # Only operators decide where files end.
        assert other != "storage" or room in ("storage", "operators"), f"{module} imports {imported}"
        # What is common to the vendor's APIs knows none of them.
        is_of_one_api = imported.startswith("useapi.riffusion")
        assert not is_of_one_api or room != "useapi" or module.startswith("useapi.riffusion"), f"{module}: {imported}"


@pytest.mark.parametrize("module", ROOMS)
def test_a_library_is_imported_in_its_rooms_alone(module: str) -> None:
    for library, rooms in LIBRARIES.items():
        assert library not in imports_of(module) or room_of(module) in rooms, f"{module} imports {library}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: imports_of(module) & MODULES.keys() - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", ["get_provider_info", NAME])
def test_what_airflow_reads_first_imports_nothing_of_ours(module: str) -> None:
    assert not imports_of(module) & MODULES.keys()


@pytest.mark.parametrize("module", OF_THE_EMULATOR)
def test_the_emulator_could_move_out(module: str) -> None:
    assert all(room_of(imported) == "emulator" for imported in imports_of(module) & MODULES.keys())
    assert not imports_of(module) & LIBRARIES.keys()
    # The server can serve any API.
    if module.startswith("emulator.server"):
        assert not any(imported.startswith("emulator.riffusion") for imported in imports_of(module))


def test_every_room_stands_on_a_floor() -> None:
    assert {room_of(module) for module in ROOMS} <= FLOOR_OF.keys()
