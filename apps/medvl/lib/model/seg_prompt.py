"""The coupling `seg_token`: the state at [SEG] becomes the one vector that the decoder is told (LISA)."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from lib.errors import WeightsError
from lib.model.sentence_queries import TARGETS, SentenceHead
from lib.shapes import HiddenStates, Queries


class SegPrompt(nn.Module):
    """From states at [SEG] to prompts, through the projection that also names what is meant.

    Args:
        head: names what a state means.
        prompt_size: of the mask decoder's prompts.
    """

    def __init__(self, head: SentenceHead, prompt_size: int) -> None:
        super().__init__()
        query_size = head.queries.shape[1]
        self.head = head
        self.to_prompt = nn.Sequential(
            nn.LayerNorm(query_size),
            nn.Linear(query_size, query_size),
            nn.GELU(),
            nn.Linear(query_size, prompt_size),
        )

    def forward(self, states: HiddenStates) -> tuple[Queries, Queries]:
        """Prompts (N, prompt size), and the scores (N, targets + 1) of what the states name."""
        vectors = self.head(states)
        return self.to_prompt(vectors), self.head.logits(vectors)


def load_seg_prompt(path: Path) -> SegPrompt:
    """As the stage `joint` wrote it.

    Raises:
        WeightsError: no such file, or one of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            texts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        targets = len(json.loads(texts[TARGETS]))
        hidden, query = tensors["head.projection.norm.weight"].shape[0], tensors["head.queries"].shape[1]
        prompt = SegPrompt(SentenceHead(hidden, query, targets), tensors["to_prompt.3.weight"].shape[0])
        prompt.load_state_dict(tensors, strict=True)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path.name} holds no [SEG] prompt; make it with: medvl train joint ({type(error).__name__})."
        ) from error
    return prompt.eval().requires_grad_(requires_grad=False)


def new_seg_prompt(head: SentenceHead, prompt_size: int, seed: int) -> SegPrompt:
    """One that knows names already and no prompts yet; always the same.

    Args:
        head: trained to name.
        prompt_size: of the mask decoder's prompts.
        seed: of the new parameters.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegPrompt(head, prompt_size)
