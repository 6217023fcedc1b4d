import click
from click.shell_completion import get_completion_class

from service.cli.options import command


@command("completion bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    wanted, program = get_completion_class(shell), context.find_root().command
    assert wanted is not None
    click.echo(wanted(program, {}, "queuestats", "_QUEUESTATS_COMPLETE").source())
