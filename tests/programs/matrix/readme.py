"""README's commands for a newcomer, to be run as they stand."""

from __future__ import annotations

import re

HEADING = "## See it in a minute, no account"
_INSTALL = re.compile(r"^pip install (?:-q |--quiet )?'?airflow-provider-riffusion'?(?=\s|$)", re.MULTILINE)


def commands(readme: str) -> str:
    """
    Return the shell commands of the section for a newcomer; empty when there is no such section.

    :param readme: the text of README.md
    """
    section = readme.partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    return "".join(re.findall(r"^```bash\n(.*?)^```$", section, re.DOTALL | re.MULTILINE))


def with_wheel(text: str, wheel: str) -> str:
    """
    Return commands that install a wheel where they would ask a package index for this project.

    :param text: the commands
    :param wheel: path of the wheel
    :raises ValueError: they do not install this project exactly once
    """
    replaced, count = _INSTALL.subn(lambda _: f"pip install --quiet {wheel}", text)
    if count != 1:
        raise ValueError(f"README's commands hold `pip install airflow-provider-riffusion` {count} times, and not once")
    return replaced
