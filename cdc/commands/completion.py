"""``cdc completion``: the script that makes a shell complete commands, flags and values."""

from __future__ import annotations

import click

from cdc.commands.options import ExamplesFirst

COMPLETING = "_CDC_COMPLETE"
"""The variable by which a shell's script asks ``cdc`` for completions."""
SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """\
  cdc completion bash > ~/.local/share/bash-completion/completions/cdc
  cdc completion zsh > ~/.zfunc/_cdc
  cdc completion fish > ~/.config/fish/completions/cdc.fish
"""
ABOUT = """\
Print the completion script of a shell.

Write it where the shell looks for it, as in the examples, and open a new shell.  bash needs
4.4 or later and the package bash-completion; zsh needs  fpath+=~/.zfunc  before  compinit  in
~/.zshrc.  For the current bash alone:  eval "$(cdc completion bash)"

It completes commands, flags, the values of flags such as --role, files, and names of settings.
"""


def completion_command() -> click.Command:
    """Return the command."""
    shell = click.Argument(["shell"], type=click.Choice(SHELLS))
    return ExamplesFirst(
        "completion",
        examples=EXAMPLES,
        params=[shell],
        callback=_completion,
        help=ABOUT,
        short_help="Print the completion script of a shell.",
    )


@click.pass_context
def _completion(ctx: click.Context, shell: str) -> None:
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # SHELLS are those that click knows
        raise click.UsageError(f"no completion for {shell}", ctx)
    # The script alone: click's own for bash runs a bash to see its version.
    click.echo(ShellComplete.source(kind(ctx.find_root().command, {}, "cdc", COMPLETING)))
