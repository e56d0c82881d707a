"""Procedural CTs of the trunk with exact labels and facts, for training; no patient's data is in them."""

from lib.train.phantom.config import PhantomConfig, Phase, Region, load_phantom_config
from lib.train.phantom.engine import Phantom, make_phantom
from lib.train.phantom.facts import LesionFact, PhantomFacts, StructureFact

__all__ = [
    "LesionFact",
    "Phantom",
    "PhantomConfig",
    "PhantomFacts",
    "Phase",
    "Region",
    "StructureFact",
    "load_phantom_config",
    "make_phantom",
]
