"""Visual tokens begin as words: a look with gas as the word "gas", any other as another word.

A language model that reads a vector of a kind that it has never seen learns to pass it over; one that begins
near a word is read from the first step on (compare Merullo et al., ICLR 2023, where images are mapped to a
frozen language model's input).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lib.model.report_writer import ReportWriter
from lib.train.report_facts import SeenStructure

GAS_WORD, OTHER_WORD = " gas", " solid"
_STEPS, _RATE, _DECAY = 400, 3e-3, 0.03
_NOISE = 0.3
"""Standard deviation of what is added to standardised looks, so that no scan is learned by heart."""


def begin_as_words(
    writer: ReportWriter, structures: Sequence[SeenStructure], gas_from: float, seed: int
) -> None:
    """Fit the visual tokens of looks to the embeddings of words.

    Args:
        writer: its head is changed; standardised before.
        structures: those with a look count, those with gas as much as all others.
        gas_from: share of voxels from which there is gas.
        seed: of the noise.
    """
    shown = [one for one in structures if one.look is not None]
    gas = torch.tensor([(one.gas_share or 0.0) >= gas_from for one in shown])
    if not gas.any() or gas.all():
        return
    head, device = writer.head, writer.head.mean.device
    looks = torch.stack([torch.as_tensor(one.look).float() for one in shown]).to(device)
    words = torch.stack([_embedding(writer, text) for text in (OTHER_WORD, GAS_WORD)]).detach()
    target = words[gas.long().to(device)]
    weight = torch.where(gas, 0.5 / gas.sum(), 0.5 / (~gas).sum()).to(device)
    noise = torch.Generator().manual_seed(seed)
    learning = [*head.inner.parameters(), *head.outer.parameters()]
    optimiser = torch.optim.AdamW(learning, lr=_RATE, weight_decay=_DECAY)
    with torch.enable_grad():
        for _ in range(_STEPS):
            added = torch.randn(looks.shape, generator=noise).to(device) * _NOISE * head.spread
            error = (head.of_looks(looks + added) - target).square().mean(dim=1) / words.square().mean()
            optimiser.zero_grad()
            torch.autograd.backward((error * weight).sum())
            optimiser.step()


def _embedding(writer: ReportWriter, text: str) -> Tensor:
    return writer.language.embed(writer.ids_of(text)).mean(dim=0)
