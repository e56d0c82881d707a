"""From the state at [SEG] to the vector that the segmenter is prompted with."""

from torch import nn

from lib.shapes import HiddenStates, Queries


class SegProjection(nn.Module):
    """Two layers, as in LISA (Lai et al. 2024): state of the language model to a prompt of the mask decoder.

    Args:
        hidden_size: of the language model.
        query_size: of the mask decoder's prompts.
    """

    def __init__(self, hidden_size: int, query_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.inner = nn.Linear(hidden_size, hidden_size)
        self.outer = nn.Linear(hidden_size, query_size)

    def forward(self, states: HiddenStates) -> Queries:
        """Prompts, shape (N, query size)."""
        return self.outer(nn.functional.gelu(self.inner(self.norm(states))))
