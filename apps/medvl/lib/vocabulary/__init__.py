"""Names of structures, and what a sentence asks for. No model, no image."""

from lib.vocabulary.sentence import parse_targets, target_of_label
from lib.vocabulary.structures import (
    Concept,
    Side,
    Structure,
    StructureKind,
    Vocabulary,
    load_vocabulary,
)
from lib.vocabulary.target import Pick, Place, Relation, Target

__all__ = [
    "Concept",
    "Pick",
    "Place",
    "Relation",
    "Side",
    "Structure",
    "StructureKind",
    "Target",
    "Vocabulary",
    "load_vocabulary",
    "parse_targets",
    "target_of_label",
]
