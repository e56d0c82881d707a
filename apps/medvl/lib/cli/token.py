"""`medvl token`: makes, lists and revokes the tokens that open a locked server."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lib.server.tokens import TokenEntry, TokenStore, role_from_text
from lib.settings import DEFAULT_TOKEN_FILE

app = typer.Typer(
    help="Make, list and revoke tokens of a server with --conf access token.", no_args_is_help=True
)

TokenFile = Annotated[Path, typer.Option("--file", help="Where the tokens' hashes are kept.")]
_SHOWN_TIME = "%Y-%m-%d %H:%M"


@app.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Whose it is to be.")],
    role: Annotated[str, typer.Option(help="user, annotator, reviewer or admin.")] = "annotator",
    days: Annotated[float | None, typer.Option(help="After which it expires; never by default.")] = None,
    file: TokenFile = DEFAULT_TOKEN_FILE,
) -> None:
    """Make a token and print it once; only its hash is kept."""
    entry, token = TokenStore(file).create(name, role_from_text(role), days)
    Console(stderr=True).print(
        f"Token {entry.key} for {entry.name}, role {entry.role}. It is shown only now:", markup=False
    )
    Console(soft_wrap=True).print(token, markup=False, highlight=False)


@app.command("list")
def list_tokens(file: TokenFile = DEFAULT_TOKEN_FILE) -> None:
    """Show whose tokens there are; the tokens themselves are not kept."""
    table = Table("key", "name", "role", "made", "expires")
    for entry in TokenStore(file).entries():
        table.add_row(entry.key, entry.name, entry.role, _shown(entry.created_s), _expiry(entry))
    Console().print(table)


@app.command("revoke")
def revoke_token(
    key: Annotated[str, typer.Argument(help="As `medvl token list` shows it.")],
    file: TokenFile = DEFAULT_TOKEN_FILE,
) -> None:
    """Make a token worthless, for servers that run too."""
    entry = TokenStore(file).revoke(key)
    Console().print(f"Revoked {entry.key} of {entry.name}.", markup=False)


def _expiry(entry: TokenEntry) -> str:
    if entry.expires_s is None:
        return "never"
    return "expired" if entry.is_expired() else _shown(entry.expires_s)


def _shown(moment_s: int) -> str:
    return time.strftime(_SHOWN_TIME, time.localtime(moment_s))
