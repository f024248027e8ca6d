"""Run everything, print the page, and write it: ``python -m tests.programs.fault_matrix``."""

from __future__ import annotations

import sys


def main() -> int:
    """Return the exit code: 1 when a cell is not what is expected."""
    # Sets Airflow's environment; not in the processes that run the cells, which inherit it.
    import tests.support.environment  # noqa: F401  # for its effect
    from tests.programs.fault_matrix import page, runner
    from tests.programs.fault_matrix.expectations import differences

    results = runner.run(runner.all_keys())
    text = page.render(results)
    print(text)
    page.PATH.write_text(text)
    wrong = [f"{key}: {difference}" for key, cell in results.items() for difference in differences(key, cell)]
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
