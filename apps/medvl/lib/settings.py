"""What the operator sets when the server starts (`--conf KEY VALUE`), parsed once.

Values come as text. An unknown key is an error, so that a misspelt one is noticed; keys that belong to MONAI
Label itself or that its sample apps have taught users are accepted and left to MONAI Label.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lib.errors import ConfigError
from lib.model.engine import EngineChoice
from lib.model.weights import default_name, default_weights_dir
from lib.predict.propagate import Propagation
from lib.transforms.intensity import WINDOW_NAMES

MONAI_LABEL_KEYS = frozenset(
    {
        "server_mode",  # set by MONAI Label when it starts the app in a process of its own
        "models",
        "labels",
        "preload",
        "use_pretrained_model",
        "skip_trainers",
        "skip_scoring",
        "skip_strategies",
        "scribbles",
        "sam2",
        "tracking",
        "tracking_uri",
        "tracking_experiment_name",
        "auto_finetune_models",
        "auto_finetune_check_interval",
        "heuristic_planner",
        "epistemic_enabled",
        "epistemic_samples",
        "epistemic_max_samples",
        "epistemic_model",
        "bundles",
        "zoo_source",
        "zoo_repo",
    }
)
"""Keys of MONAI Label and its sample apps: accepted, because users' start scripts hold them."""

DEFAULT_TOKEN_FILE = Path("~/.config/medvl/tokens.json")


class Access(StrEnum):
    """Who may use the server."""

    OPEN = "open"
    TOKEN = "token"  # noqa: S105 - no password
    OIDC = "oidc"


@dataclass(frozen=True)
class Settings:
    """Settings of a running server. Each is `--conf NAME VALUE`.

    Attributes:
        weights: name of the segmenter's weights, as `medvl weights list` shows it.
        weights_dir: folder in which `medvl weights fetch` put them.
        device: where the network runs: cpu, cuda or cuda:N.
        threads: CPU threads of one inference; 0: as PyTorch chooses.
        engine: what runs the slice encoder: auto (the fastest that works here), torch or openvino.
        cache_mb: bound on slice embeddings kept in memory, in megabytes.
        embedding_disk_mb: bound on slice embeddings kept in files beside the weights, in megabytes; they
            spare encoding a scan again after a restart. 0: none are kept.
        volume_cache_mb: bound on kept scans, in megabytes.
        interaction_cache_mb: bound on kept masks of users' earlier steps, in megabytes.
        session_minutes: idle minutes after which a session and its image expire.
        max_sessions: sessions with an uploaded image at the same time.
        max_concurrent_inferences: inferences that run at the same time.
        queue_limit: inferences that may wait; one more is refused with 503.
        propagation: how a mask goes from slice to slice unless the request says otherwise.
        window: intensity preset for CT unless the request says otherwise; empty: chosen by the scan.
        cors_origins: web addresses, separated by commas, whose pages may call the server; empty: none but
            its own.
        access: who may use the server: open (whoever reaches it), token (who holds one that `medvl token
            create` made) or oidc (also whom the identity provider of MONAI_LABEL_AUTH_REALM_URI knows).
        token_file: where `medvl token` keeps the hashes of tokens.
        max_upload_mb: size of a request, in megabytes; a larger one is refused with 413.
        max_requests: requests of any kind at the same time; one more is refused with 503.
        reservation_minutes: idle minutes after which a scan that was offered to an annotator is offered to
            others again.
        background_scoring: whether scans are scored for active learning while no user needs the server: true
            or false.
    """

    weights: str = dataclasses.field(default_factory=default_name)
    weights_dir: Path = dataclasses.field(default_factory=default_weights_dir)
    device: str = "cpu"
    threads: int = 0
    engine: EngineChoice = EngineChoice.AUTO
    cache_mb: int = 2048
    embedding_disk_mb: int = 0
    volume_cache_mb: int = 2048
    interaction_cache_mb: int = 256
    session_minutes: float = 60.0
    max_sessions: int = 64
    max_concurrent_inferences: int = 4
    queue_limit: int = 16
    propagation: Propagation = Propagation.REPROMPT
    window: str = ""
    cors_origins: tuple[str, ...] = ()
    access: Access = Access.OPEN
    token_file: Path = DEFAULT_TOKEN_FILE
    max_upload_mb: int = 2048
    max_requests: int = 128
    reservation_minutes: float = 60.0
    background_scoring: bool = True

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"The setting {name} must be {least} or more; got {getattr(self, name)}.")
        if self.window and self.window not in WINDOW_NAMES:
            raise ConfigError(
                f"The setting window must be empty or one of {sorted(WINDOW_NAMES)}; got {self.window!r}."
            )


_LEAST = {
    "threads": 0,
    "cache_mb": 0,
    "embedding_disk_mb": 0,
    "volume_cache_mb": 0,
    "interaction_cache_mb": 0,
    "session_minutes": 1,
    "max_sessions": 1,
    "max_concurrent_inferences": 1,
    "queue_limit": 0,
    "max_upload_mb": 1,
    "max_requests": 1,
    "reservation_minutes": 1,
}


def parse_settings(conf: Mapping[str, Any] | None) -> Settings:
    """Settings from MONAI Label's `--conf` dictionary.

    Args:
        conf: name to text.

    Raises:
        ConfigError: an unknown key, or a value that cannot be read.
    """
    given = {key: value for key, value in (conf or {}).items() if key not in MONAI_LABEL_KEYS}
    unknown = sorted(set(given) - set(_PARSERS))
    if unknown:
        raise ConfigError(f"Unknown settings {unknown}. Known: {sorted(_PARSERS)}.")
    return Settings(**{key: _parsed(key, str(value).strip()) for key, value in given.items()})


def _parsed(key: str, text: str) -> Any:
    parser = _PARSERS[key]
    try:
        return parser(text)
    except ValueError as error:
        raise ConfigError(f"The setting {key} must be {_DESCRIPTIONS[parser]}; got {text!r}.") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _switch(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(text)
    return text.lower() == "true"


def _device(text: str) -> str:
    kind, _, index = text.partition(":")
    if kind not in {"cpu", "cuda"} or (":" in text and not index.isdigit()):
        raise ValueError(text)
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_PARSERS: dict[str, Callable[[str], Any]] = {
    "weights": str,
    "weights_dir": _path,
    "device": _device,
    "threads": int,
    "engine": EngineChoice,
    "cache_mb": int,
    "embedding_disk_mb": int,
    "volume_cache_mb": int,
    "interaction_cache_mb": int,
    "session_minutes": _finite,
    "max_sessions": int,
    "max_concurrent_inferences": int,
    "queue_limit": int,
    "propagation": Propagation,
    "window": str,
    "cors_origins": _list,
    "access": Access,
    "token_file": _path,
    "max_upload_mb": int,
    "max_requests": int,
    "reservation_minutes": _finite,
    "background_scoring": _switch,
}
_DESCRIPTIONS: dict[Callable[[str], Any], str] = {
    int: "a whole number",
    _finite: "a number",
    _device: "cpu, cuda or cuda:N",
    _switch: "true or false",
    EngineChoice: f"one of {[choice.value for choice in EngineChoice]}",
    Propagation: f"one of {[kind.value for kind in Propagation]}",
    Access: f"one of {[kind.value for kind in Access]}",
}
