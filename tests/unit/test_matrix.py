"""What ``make matrix`` does before and after it installs: README's commands, an installer's reason, the table."""

from __future__ import annotations

import pytest

from tests.programs.matrix.environments import interpreter, reason
from tests.programs.matrix.readme import HEADING, commands, with_wheel
from tests.programs.matrix.table import FAILED, OK, Outcome, table


def test_the_commands_are_those_of_the_section() -> None:
    block = "```bash\necho {}\n```\n"
    readme = f"# Title\n{block.format(1)}\n{HEADING}\n\nWords\n{block.format(2)}```python\nx\n```\n{block.format(3)}\n"
    assert commands(f"{readme}\n## Next\n{block.format(4)}") == "echo 2\necho 3\n"
    assert commands("# Title\n") == ""


def test_the_wheel_takes_the_place_of_the_index() -> None:
    text = "pip install airflow-provider-riffusion  # brings Airflow\npython -m airflow_provider_riffusion.emulator\n"
    assert with_wheel(text, "/w/x.whl").startswith("pip install --quiet /w/x.whl  # brings Airflow\npython -m airflow_")
    for wrong in ("", text * 2):
        with pytest.raises(ValueError, match="and not once"):
            with_wheel(wrong, "/w/x.whl")


def test_a_reason_is_one_line() -> None:
    assert reason("  × No solution:\n  ╰─▶ Because\n      of this.\n") == "No solution: Because of this."  # noqa: RUF001  # uv's


def test_an_interpreter_that_does_not_answer_is_none() -> None:
    assert interpreter("3.99") is None


def test_the_table_numbers_each_reason_once() -> None:
    outcomes = {("3.11", "3.1.8"): Outcome(OK), ("3.11", "3.2.2"): Outcome(FAILED, "why")}
    outcomes |= {("3.12", airflow): Outcome(FAILED, "why") for airflow in ("3.1.8", "3.2.2")}
    assert table(outcomes, ["3.1.8", "3.2.2"]).splitlines() == [
        "|  | Airflow 3.1.8 | Airflow 3.2.2 |",
        "| --- | --- | --- |",
        "| Python 3.11 | ok | FAILED [1] |",
        "| Python 3.12 | FAILED [1] | FAILED [1] |",
        "",
        "[1] why",
    ]
