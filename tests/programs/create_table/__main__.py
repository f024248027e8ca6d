"""Run everything, print the section, and write it: ``python -m tests.programs.create_table``."""

from __future__ import annotations

import sys

#: How many tasks are killed at random.
_KILLS = 30


def main() -> int:
    """Return the exit code: 1 when a cell is not what is expected, or a task has paid twice."""
    # Sets Airflow's environment; not in the processes that run the cells, which inherit it.
    import tests.support.environment  # noqa: F401  # for its effect
    from tests.programs.create_table import cells, kills, page, runner

    results = runner.run(cells.all_keys())
    wrong = [f"{key}: {difference}" for key, cell in results.items() for difference in cells.differences(key, cell)]
    wrong += kills.run(range(_KILLS))
    section = page.render(results, _KILLS)
    print(section)
    print(*wrong, sep="\n", file=sys.stderr)
    if not wrong:
        page.write(section)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
