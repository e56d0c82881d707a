"""Which label values make up a structure: by its own name, or as the union of its parts."""

from collections.abc import Collection, Mapping

from lib.vocabulary import Vocabulary, load_vocabulary, target_of_label


def values_by_structure(
    labels: Mapping[int, str], wanted: Collection[str] = (), vocabulary: Vocabulary | None = None
) -> dict[str, tuple[int, ...]]:
    """Structure to the values that it consists of.

    Args:
        labels: value to name, as a data set says it; names that mean no structure are left out.
        wanted: structures or groups that are unions too ("lung_left" of its lobes, "ribs" of the ribs), where
            the labels speak of all their parts.
        vocabulary: what is known; None: the project's own.
    """
    known = vocabulary or load_vocabulary()
    found: dict[str, tuple[int, ...]] = {}
    for value, name in labels.items():
        target = target_of_label(name, known)
        if target is not None and len(target.names) == 1 and not target.part:
            (structure,) = target.names
            found[structure] = (*found.get(structure, ()), value)
    for name, parts in _unions(wanted, known).items():
        if name not in found and parts and all(part in found for part in parts):
            found[name] = tuple(value for part in parts for value in found[part])
    return found


def _unions(wanted: Collection[str], vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    unions: dict[str, tuple[str, ...]] = {}
    for name in wanted:
        structure = vocabulary.structure(name)
        group = next((one for one in vocabulary.concepts if one.group and one.name == name), None)
        if structure is not None and structure.parts:
            unions[name] = structure.parts
        elif structure is None and group is not None:
            unions[name] = tuple(part.name for part in group.structures)
    return unions
