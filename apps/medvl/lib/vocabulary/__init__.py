"""Names of structures, and what a sentence or question asks for. No model, no image."""

from lib.vocabulary.ask import parse_question
from lib.vocabulary.question import Choice, Limit, Quantity, Question, QuestionKind, State
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
    "Choice",
    "Concept",
    "Limit",
    "Pick",
    "Place",
    "Quantity",
    "Question",
    "QuestionKind",
    "Relation",
    "Side",
    "State",
    "Structure",
    "StructureKind",
    "Target",
    "Vocabulary",
    "load_vocabulary",
    "parse_question",
    "parse_targets",
    "target_of_label",
]
