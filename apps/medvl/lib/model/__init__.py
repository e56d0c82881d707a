"""The network: SAM2's parts, the slice encoders and their weights.

Importing `sam2` initialises Hydra for the whole process. It is imported here, before any module of this
package can, and Hydra is left as it was found: another library in the process may be using it.
"""

import importlib

from hydra.core.global_hydra import GlobalHydra


def _import_sam2_without_side_effect() -> None:
    was_initialized = GlobalHydra.instance().is_initialized()
    importlib.import_module("sam2")
    if not was_initialized:
        GlobalHydra.instance().clear()


_import_sam2_without_side_effect()
