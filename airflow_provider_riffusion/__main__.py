"""The commands of ``airflow riffusion`` for Airflow 3.1, which takes none from a provider."""

from __future__ import annotations

import argparse

from airflow_provider_riffusion.cli.definition import get_commands


def main(argv: list[str] | None = None) -> None:
    """
    Run a command: ``python -m airflow_provider_riffusion accounts``.

    :param argv: the arguments; None: those of the process
    """
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_riffusion")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in get_commands():
        subparser = commands.add_parser(command.name, help=command.help, description=command.description)
        subparser.set_defaults(func=command.func)
        for argument in command.args:
            argument.add_to_parser(subparser)
    arguments = parser.parse_args(argv)
    arguments.func(arguments)


if __name__ == "__main__":
    main()
