"""``mrcz completion``: a script that lets the shell complete commands and options."""

from __future__ import annotations

import argparse
from typing import Any

from .console import say_as_it_is

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  bash   echo 'eval "$(mrcz completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(mrcz completion zsh)"' >> ~/.zshrc
  fish   mrcz completion fish > ~/.config/fish/completions/mrcz.fish
"""

BASH = """\
_mrcz() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} options=""
    COMPREPLY=()
    case ${{COMP_WORDS[1]-}} in
{cases}
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    fi
}}
complete -o default -o bashdefault -F _mrcz mrcz
"""

ZSH = "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "completion", help="print a script for the completion of a shell",
        description="Print a script that lets a shell complete commands and options.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(subparsers=subparsers)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    parsers: dict[str, argparse.ArgumentParser] = args.subparsers.choices
    if args.shell == "fish":
        helps = {choice.dest: choice.help for choice in args.subparsers._choices_actions}
        say_as_it_is("\n".join(_fish(parsers, helps)))
        return 0
    if args.shell == "zsh":
        say_as_it_is(ZSH.rstrip())
    cases = "\n".join(f"        {name}) options=\"{' '.join(_options(parser))}\" ;;"
                      for name, parser in parsers.items())
    say_as_it_is(BASH.format(cases=cases, commands=" ".join(parsers)).rstrip())
    return 0


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings
            if option.startswith("--")]


def _fish(
    parsers: dict[str, argparse.ArgumentParser], helps: dict[str, str | None]
) -> list[str]:
    lines = [f"complete -c mrcz -n __fish_use_subcommand -a {name} -d {_quoted(helps[name] or '')}"
             for name in parsers]
    for name, parser in parsers.items():
        for option in _options(parser):
            lines.append(f"complete -c mrcz -n '__fish_seen_subcommand_from {name}' "
                         f"-l {option[2:]}")
    return lines


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
