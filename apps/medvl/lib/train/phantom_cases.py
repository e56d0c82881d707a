"""Procedural scans as labelled cases on disk, for whatever reads cases."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lib.errors import InputError
from lib.formats import write_mask, write_volume
from lib.mask import Mask
from lib.train.dataset import Case
from lib.train.features import Progress
from lib.train.label_names import totalsegmentator_names
from lib.train.phantom import PhantomConfig, load_phantom_config, make_phantom

PHANTOM = "phantom"
"""Kind of procedural scans."""
FIRST_PHANTOM = 5_000_000
"""Seed of the first phantom that is scored; training draws its seeds far below."""


def phantom_cases(
    seeds: Iterable[int], folder: Path, progress: Progress, max_voxels: int | None = None
) -> list[Case]:
    """Procedural scans with all their structures' labels, each written once.

    Args:
        seeds: one scan each.
        folder: for their files.
        progress: is told which is made.
        max_voxels: makes voxels larger until a scan has no more; None: as the phantoms' settings say.

    Raises:
        InputError: a phantom that shows none of the structures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = load_phantom_config()
    if max_voxels is not None:
        config = replace(config, sampling=replace(config.sampling, max_voxels=max_voxels))
    return [_phantom_case(seed, config, folder, progress) for seed in seeds]


def _phantom_case(seed: int, config: PhantomConfig, folder: Path, progress: Progress) -> Case:
    name = f"phantom_{seed:04d}"
    image, label = folder / f"{name}.nii.gz", folder / f"{name}_label.nii.gz"
    if not label.is_file():  # written last
        progress(f"making {name}")
        phantom = make_phantom(seed, config)
        write_volume(phantom.volume, image)
        most = int(phantom.label_map.max())
        if most == 0:
            raise InputError(f"The phantom of seed {seed} shows none of the structures; leave it out.")
        every = {str(value): value for value in range(1, most + 1)}
        write_mask(Mask(phantom.label_map, phantom.volume.affine, every), label)
    return Case(name, "pool", PHANTOM, image, label, totalsegmentator_names())
