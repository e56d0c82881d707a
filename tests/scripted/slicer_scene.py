"""Slicer's scene: scans, segments, clicks and a box, in RAS millimetres, and what moves between them."""

# ruff: noqa: N802 - the names are Slicer's

import hashlib
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from scripted.slicer_widgets import Quiet

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_of(image: sitk.Image) -> np.ndarray:
    """Voxel indices to RAS millimetres."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return FLIP @ affine


@dataclass(eq=False)
class VolumeNode(Quiet):
    """A scan or a label map in the scene."""

    image: sitk.Image | None = None
    name: str = ""

    def GetName(self):
        return self.name

    def SetName(self, name):
        self.name = name

    def GetID(self):
        return self.name

    def GetRASToIJKMatrix(self, matrix):
        matrix.values = np.linalg.inv(affine_of(self.image))

    def GetIJKToRASMatrix(self, matrix):
        matrix.values = affine_of(self.image)


@dataclass
class Segment:
    """One structure, on the grid of the scan."""

    name: str
    voxels: np.ndarray | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def GetName(self):
        return self.name

    def SetTag(self, key, value):
        self.tags[key] = value

    def GetTag(self, key, text):
        text.value = self.tags.get(key, "")


@dataclass
class Segmentation:
    """Segments by their id, in order."""

    segments: dict[str, Segment] = field(default_factory=dict)

    def GetNumberOfSegments(self):
        return len(self.segments)

    def GetNthSegmentID(self, index):
        return list(self.segments)[index]

    def GetSegment(self, segment_id):
        return self.segments.get(segment_id)

    def GetSegmentIdBySegmentName(self, name):
        return next((key for key, segment in self.segments.items() if segment.name == name), "")

    def AddEmptySegment(self, segment_id, name, color=None):
        self.segments[segment_id] = Segment(name)


@dataclass(eq=False)
class SegmentationNode(Quiet):
    """A segmentation, and the scan whose grid it has."""

    segmentation: Segmentation = field(default_factory=Segmentation)
    reference: VolumeNode | None = None

    def GetSegmentation(self):
        return self.segmentation

    def SetReferenceImageGeometryParameterFromVolumeNode(self, node):
        self.reference = node


@dataclass(eq=False)
class PointList(Quiet):
    """Clicks, RAS millimetres."""

    points: list[list[float]] = field(default_factory=list)

    def GetNumberOfControlPoints(self):
        return len(self.points)

    def GetNthControlPointPosition(self, index):
        return self.points[index]

    def GetNthControlPointPositionWorld(self, index, world):
        world[:] = self.points[index]

    def AddControlPoint(self, point):
        self.points.append(list(point))

    def RemoveAllControlPoints(self):
        self.points.clear()


@dataclass(eq=False)
class Box(Quiet):
    """The box that a user drags, RAS millimetres; not placed while it has no size."""

    centre: np.ndarray | None = None
    size: np.ndarray | None = None

    def GetControlPointPlacementComplete(self):
        return self.centre is not None

    def GetCenter(self, centre):
        centre[:] = [float(value) for value in self.centre]

    def GetSize(self):
        return [float(value) for value in self.size]

    def RemoveAllControlPoints(self):
        self.centre = self.size = None


@dataclass
class ParameterNode(Quiet):
    """Choices that the module remembers."""

    parameters: dict[str, str] = field(default_factory=dict)

    def GetParameter(self, name):
        return self.parameters.get(name, "")

    def SetParameter(self, name, value):
        self.parameters[name] = value

    def GetNodeReference(self, name):
        return "nothing that needs choosing"


class Matrix:
    """vtkMatrix4x4."""

    def __init__(self):
        self.values = np.eye(4)

    def MultiplyDoublePoint(self, point):
        return list(self.values @ point)


class Text:
    """vtk.mutable."""

    def __init__(self, value):
        self.value = value

    def __str__(self):
        return self.value


class Strings(list):
    """vtkStringArray."""

    def InsertNextValue(self, value):
        self.append(value)


class Scene:
    """Nodes, and files that become nodes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.nodes = []
        self.before_closing = self.after_closing = lambda *_: None

    def AddNewNodeByClass(self, name, *_):
        made = {
            "vtkMRMLLabelMapVolumeNode": VolumeNode,
            "vtkMRMLSegmentationNode": SegmentationNode,
            "vtkMRMLMarkupsFiducialNode": PointList,
            "vtkMRMLMarkupsROINode": Box,
        }
        node = made.get(name, Quiet)()
        self.nodes.append(node)
        return node

    def RemoveNode(self, node):
        self.nodes = [other for other in self.nodes if other is not node]

    def Clear(self, *_):
        self.before_closing(None, None)
        self.nodes.clear()
        self.after_closing(None, None)

    def GetFirstNodeByClass(self, name):
        scans = [node for node in self.nodes if isinstance(node, VolumeNode) and node.name]
        return scans[0] if name == "vtkMRMLScalarVolumeNode" and scans else None

    def load(self, path, name=""):
        node = VolumeNode(sitk.ReadImage(str(path)), name)
        self.nodes.append(node)
        return node

    def download(self, nodeNames, fileNames, uris, checksums=None):
        """SampleDataLogic.downloadFromURL for one file."""
        with urllib.request.urlopen(uris) as reply:
            content = reply.read()
        if checksums:
            kind, _, digest = checksums.partition(":")
            assert hashlib.new(kind.lower(), content).hexdigest() == digest
        path = self.folder / Path(fileNames).name
        path.write_bytes(content)
        return [self.load(path, nodeNames)]


def import_label_map(label_map, node, segment_ids=None):
    """ImportLabelmapToSegmentationNode: value v is the v-th id's, where the scan's grid has it in space."""
    grid = node.reference.image
    placed = sitk.Resample(label_map.image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    values = sitk.GetArrayFromImage(placed)
    assert values.max() <= len(segment_ids), "a value without a name"
    for value, segment_id in enumerate(segment_ids, start=1):
        segment = node.segmentation.segments.setdefault(segment_id, Segment(segment_id))
        segment.voxels = values == value


def export_label_map(node, segment_ids, label_map, reference):
    """ExportSegmentsToLabelmapNode: the v-th id becomes value v."""
    values = np.zeros(sitk.GetArrayFromImage(reference.image).shape, dtype=np.uint8)
    for value, segment_id in enumerate(segment_ids, start=1):
        voxels = node.segmentation.segments[segment_id].voxels
        if voxels is not None:
            values[voxels] = value
    label_map.image = sitk.GetImageFromArray(values)
    label_map.image.CopyInformation(reference.image)
