"""`medvl dataset`: questions with a chain of thought and an answer, made of labelled images."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lib.errors import ConfigError, InputError
from lib.model.weights import default_weights_dir
from lib.train.reasoning.build import BuildCounts, Builder, pictures_of, settings_of
from lib.train.reasoning.critic import Critic, FactsCritic
from lib.train.reasoning.dialogue import MOST_ROUNDS, Dialogue, ModelCritic
from lib.train.reasoning.endpoint import KEY_VARIABLE, endpoint_from_environment
from lib.train.reasoning.knowledge import Knowledge, load_knowledge
from lib.train.reasoning.models import DEFAULT_MODEL, TextModel, load_local
from lib.train.reasoning.procedural import DATA, phantom_sources
from lib.train.reasoning.review import SHEET, Decision, apply_decisions, read_decisions, write_review
from lib.train.reasoning.rows import RowStore
from lib.train.reasoning.sources import TRAIN, SourceImage, load_sources

NOBODY = "none"
_ENDPOINT = "endpoint"
_FIRST_PHANTOM = 2_000_000

app = typer.Typer(help="Make data sets of questions and answers.", no_args_is_help=True)


@app.callback()
def _dataset() -> None:
    """Keeps `build` a word of its own while it is the only one."""


@app.command("build")
def build(  # noqa: PLR0913, PLR0917 - the command's own options
    output: Annotated[Path, typer.Option(help="Where rows, review sheet and pictures go.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="A folder with a manifest.json; may be given several times.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Which splits, each into its own file; train if none is named.")
    ] = None,
    phantoms: Annotated[int, typer.Option(min=0, help="Make so many procedural CTs, too.")] = 0,
    phantom_seed: Annotated[int, typer.Option(min=0, help="Of the first one.")] = _FIRST_PHANTOM,
    assistant: Annotated[
        str,
        typer.Option(
            help="Phrases the steps: weights, or a Hugging Face folder, of a language model; or 'none'."
        ),
    ] = DEFAULT_MODEL,
    endpoint: Annotated[
        str | None,
        typer.Option(help=f"An OpenAI-compatible address phrases them instead; key from ${KEY_VARIABLE}."),
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="What the endpoint calls the model.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one answer of the endpoint.")] = 60.0,
    critic: Annotated[
        str | None,
        typer.Option(help="A language model that judges beside the facts: weights, a folder, or 'endpoint'."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, max=MOST_ROUNDS, help="How often a step is sent back.")] = 2,
    *,
    fallback: Annotated[
        bool,
        typer.Option(
            help="Put together from facts what the assistant cannot get right; else reject the row."
        ),
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images of each folder.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn by lot.")] = 0,
    review: Annotated[
        Path | None,
        typer.Option(help=f"A review sheet with decisions: rows marked 'drop' are taken out ({SHEET})."),
    ] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="The weights folder.", show_default=False)] = None,
) -> None:
    """From images, masks and conditions to questions, chains of thought and answers, checked on the masks."""
    if not data and not phantoms and review is None:
        raise InputError("Nothing to build from; give --data, --phantoms or --review.")
    console = Console(soft_wrap=True)
    decisions = {} if review is None else read_decisions(review)
    images = _images(data or [], split or [TRAIN], limit) + phantom_sources(phantoms, phantom_seed)
    with RowStore(output) as store:
        if images:
            knowledge = load_knowledge()
            models = _Models(endpoint, endpoint_model, timeout, weights_dir or default_weights_dir())
            dialogue = _dialogue(models, assistant, critic, rounds, knowledge, falls_back=fallback)
            store.check_settings(settings_of(dialogue, seed))
            counts = Builder(store, dialogue, seed, lambda text: console.print(text, highlight=False)).build(
                images
            )
            _print_counts(counts, console)
        _review(store, decisions, console)
    console.print("Research use only, not a medical device. Each row names its licence.", highlight=False)


class _Models:
    """Loads each language model once."""

    def __init__(self, url: str | None, model: str | None, timeout_s: float, weights_dir: Path) -> None:
        self._url, self._model, self._timeout_s, self._weights_dir = url, model, timeout_s, weights_dir
        self._loaded: dict[str, TextModel] = {}

    @property
    def has_endpoint(self) -> bool:
        return self._url is not None

    def get(self, named: str) -> TextModel:
        if named not in self._loaded:
            self._loaded[named] = self._load(named)
        return self._loaded[named]

    def _load(self, named: str) -> TextModel:
        if named != _ENDPOINT:
            return load_local(named, self._weights_dir)
        if self._url is None:
            raise ConfigError("'endpoint' needs --endpoint, the address of a chat model.")
        return endpoint_from_environment(self._url, self._model, self._timeout_s)


def _images(folders: list[Path], splits: list[str], limit: int | None) -> list[SourceImage]:
    """All that is to be looked at; two folders of one name would make rows of one id.

    Raises:
        InputError: two folders of one name.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names) or DATA in names:
        raise InputError(f"Each data folder needs a name of its own, other than {DATA!r}; got {names}.")
    return [image for folder in folders for image in load_sources(folder, splits)[:limit]]


def _dialogue(
    models: _Models,
    assistant: str,
    critic: str | None,
    rounds: int,
    knowledge: Knowledge,
    *,
    falls_back: bool,
) -> Dialogue:
    named = _ENDPOINT if models.has_endpoint else assistant
    writer = None if named == NOBODY else models.get(named)
    critics: list[Critic] = [FactsCritic(knowledge)]
    if critic is not None:
        critics.append(ModelCritic(models.get(critic), knowledge))
    return Dialogue(knowledge, writer, tuple(critics), rounds, falls_back)


def _review(store: RowStore, decisions: dict[str, Decision], console: Console) -> None:
    """Takes out what was dropped, and writes sheet and page with all decisions so far."""
    before = read_decisions(store.folder / SHEET) if (store.folder / SHEET).is_file() else {}
    dropped = apply_decisions(store, decisions)
    if decisions:
        console.print(f"{dropped} rows dropped in review", highlight=False)
    sheet, page = write_review(store, pictures_of(store), before | decisions)
    console.print(f"For review: {sheet} and {page}", markup=False, highlight=False)


def _print_counts(counts: BuildCounts, console: Console) -> None:
    by = ", ".join(f"{number} by {name}" for name, number in counts.writers.items()) or "none"
    console.print(
        f"{counts.written} rows written ({by}), {counts.rejected} rejected, "
        f"{counts.passed_over} images were there already",
        highlight=False,
    )
