"""The `medvl` command.

Each sub-command is a module beside this one with a typer application called `app`; it is imported only when
it is called, because PyTorch and MONAI Label take seconds. Exit status: 0 on success, 2 for wrong usage, 1
with one clear line otherwise.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from lib.errors import MedVLError

COMMANDS = {
    "serve": "Serve a folder or a DICOMweb archive to MONAI Label clients.",
    "batch": "Run a model over a folder of studies; started again, it goes on where it was.",
    "segment": "Segment one image from boxes or clicks, without a server.",
    "report": "Report on one CT: findings and impression, each resting on a mask.",
    "ask": "Ask a question about one CT; the answer is measured, or says why it cannot be told.",
    "diagnose": "Say in four steps what one picture or CT shows, each resting on a mask.",
    "evaluate": "Score the model against reference masks.",
    "dataset": "Make questions with reasoned answers out of labelled images.",
    "train": "Train a stage of the model on labelled cases.",
    "token": "Make, list and revoke tokens of a locked server.",
    "weights": "List, fetch and add model weights.",
}
"""Sub-commands and what they do; `serve` is in `lib.cli.serve`, and so on."""

app = typer.Typer(
    name="medvl",
    help="Promptable 3D medical image segmentation. Research use only, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `medvl`; an expected error is one line on stderr and exit status 1.

    Args:
        arguments: without the program's name; those of the process if None.
    """
    try:
        app(args=None if arguments is None else list(arguments), prog_name="medvl")
    except MedVLError as error:
        Console(stderr=True, soft_wrap=True).print(f"medvl: {error}", markup=False, highlight=False)
        sys.exit(1)


def _register(name: str, purpose: str) -> None:
    """Add a sub-command that hands all its arguments, `--help` included, to its own module."""

    def run(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
        command = typer.main.get_command(importlib.import_module(f"lib.cli.{name}").app)
        command.main(args=arguments or [], prog_name=f"medvl {name}")

    as_given = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(name, help=purpose, add_help_option=False, context_settings=as_given)(run)


for _name, _purpose in COMMANDS.items():
    _register(_name, _purpose)
