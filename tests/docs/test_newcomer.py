"""README's commands for a newcomer, which make matrix runs with each Airflow, agree with the emulator."""

from __future__ import annotations

import re

from airflow_provider_riffusion.emulator.__main__ import build_parser, greeting, make_emulator
from tests.programs.matrix.readme import commands, with_wheel
from tests.support.dag_runs import ROOT

COMMANDS = commands((ROOT / "README.md").read_text())


def test_the_connection_is_the_one_that_the_emulator_prints() -> None:
    defaults = build_parser().parse_args([])
    port = f":{defaults.port}"
    defaults.port = 0
    with make_emulator(defaults) as emulator:
        printed = re.findall(r"export AIRFLOW_CONN.*", re.sub(r":\d+(?=\")", port, greeting(emulator)))
    assert len(printed) == 1
    assert re.findall(r"^export AIRFLOW_CONN.*", COMMANDS, re.MULTILINE) == printed


def test_no_comment_breaks_a_shell_that_takes_none() -> None:
    """Zsh, the shell of macOS, takes no comment from a line that is typed or pasted."""
    assert not re.findall(r"(?:^|\s)#.*", COMMANDS)


def test_the_wheel_can_take_the_place_of_the_index() -> None:
    assert with_wheel(COMMANDS, "/dist/the.whl").count("/dist/the.whl") == 1
