"""As much of 3D Slicer as its MONAI Label module asks for, so that the module's own code runs without Slicer.

Real are the module's logic, its client and the requests it forms; what stands in is the scene (volumes,
segments, points, a box), the menus it reads choices from, and files. Everything else that it touches, such as
colours and progress bars, is accepted and forgotten. Meanings follow Slicer's documentation: world
coordinates are RAS millimetres, and an imported label map's value v belongs to the v-th segment named.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from unittest.mock import MagicMock

import SimpleITK as sitk

from scripted.slicer_scene import (
    Matrix,
    ParameterNode,
    Scene,
    Strings,
    Text,
    VolumeNode,
    export_label_map,
    import_label_map,
)
from scripted.slicer_widgets import Cell, CheckBox, Menu, Quiet, Settings, Widgets

MODULE = "plugins/slicer/MONAILabel/MONAILabel.py"


class DialogError(AssertionError):
    """An error dialog, as a user would see it."""


def plugin_path() -> Path:
    """Where the package `monailabel` has put the module for Slicer."""
    package = metadata.distribution("monailabel")
    return next(Path(package.locate_file(file)) for file in package.files if str(file).endswith(MODULE))


def _show_error(text, detailedText=None, **_):
    raise DialogError(f"{text}\n{detailedText or ''}")


def _modules(scene: Scene, settings: Settings) -> dict[str, types.ModuleType]:
    """The modules that Slicer's Python has and ours has not."""
    util = types.SimpleNamespace(
        settingsValue=lambda key, default, converter=None: settings.get(key, default),
        toBool=bool,
        tempDirectory=lambda name: str(scene.folder),
        getNodesByClass=lambda name: [],
        errorDisplay=_show_error,
        warningDisplay=_show_error,
        infoDisplay=MagicMock(),
        confirmOkCancelDisplay=lambda *_, **__: True,
        createProgressDialog=MagicMock(),
        loadVolume=scene.load,
        saveNode=lambda node, path: sitk.WriteImage(node.image, path),
        mainWindow=MagicMock(),
        VTKObservationMixin=type(
            "VTKObservationMixin", (), {"addObserver": MagicMock(), "removeObserver": MagicMock()}
        ),
    )
    logic = types.SimpleNamespace(
        ImportLabelmapToSegmentationNode=import_label_map, ExportSegmentsToLabelmapNode=export_label_map
    )
    scripted = {
        name: type(
            name, (), {"__init__": lambda self, *_: None, "getParameterNode": lambda self: ParameterNode()}
        )
        for name in (
            "ScriptedLoadableModule",
            "ScriptedLoadableModuleWidget",
            "ScriptedLoadableModuleLogic",
            "ScriptedLoadableModuleTest",
        )
    }
    window = type("Window", (), {})
    qt = MagicMock(QDialog=window, QSettings=lambda: settings, QCheckBox=CheckBox, QComboBox=Menu)
    qt.QTableWidgetItem = Cell
    segmentations = types.SimpleNamespace(segmentations=types.SimpleNamespace(logic=lambda: logic))
    return {
        "ctk": MagicMock(ctkSettingsPanel=window),
        "qt": qt,
        "SampleData": types.SimpleNamespace(
            SampleDataLogic=lambda: types.SimpleNamespace(downloadFromURL=scene.download)
        ),
        "sitkUtils": types.SimpleNamespace(PushVolumeToSlicer=lambda image, *_, **__: VolumeNode(image)),
        "slicer": MagicMock(util=util, mrmlScene=scene, modules=segmentations),
        "slicer.i18n": types.SimpleNamespace(tr=lambda text: text, translate=lambda _, text: text),
        "slicer.util": util,
        "slicer.ScriptedLoadableModule": types.SimpleNamespace(**scripted, __all__=list(scripted)),
        "vtk": MagicMock(vtkMatrix4x4=Matrix, mutable=Text, vtkStringArray=Strings),
        "vtkSegmentationCore": MagicMock(),
    }


@contextmanager
def running_slicer(folder: Path, address: str, **settings) -> Iterator[tuple]:
    """The module's widget, connected to a server, and the scene it works on.

    Args:
        folder: for files that the module writes; removed by it.
        address: of the server.
        settings: as in Slicer's settings, without `MONAILabel/`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene(folder)
    path = plugin_path()
    stand_ins = _modules(scene, Settings({f"MONAILabel/{key}": value for key, value in settings.items()}))
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(path.parent))
    try:
        widget = _connected_widget(path, folder, address)
        scene.before_closing, scene.after_closing = widget.onSceneStartClose, widget.onSceneEndClose
        yield widget, scene
    finally:
        sys.path.remove(str(path.parent))
        for name in [name for name in sys.modules if name in stand_ins or name.startswith("MONAILabel")]:
            del sys.modules[name]


def _connected_widget(path: Path, folder: Path, address: str):
    """What `setup` does, without the window, and a press on the button beside the address."""
    spec = importlib.util.spec_from_file_location("MONAILabel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    widget = module.MONAILabelWidget()
    widget.ui, widget.parent = Widgets(), Quiet()
    widget.ui.serverComboBox.addItem(address)
    widget.ui.optionsSection.addItem("infer")
    widget.tmpdir = str(folder)
    widget.logic = module.MONAILabelLogic(str(folder))
    widget.initializeParameterNode()
    widget.onClickFetchInfo()
    return widget
