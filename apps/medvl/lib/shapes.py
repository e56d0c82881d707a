"""One name per kind of array, used in every signature.

Axes: C channels; I, J, K voxel axes in file order; D slices along the chosen axis; H rows and W columns of a
slice as shown; B batch; N points; Q candidate masks. x, y, z are millimetres in RAS+; i, j, k are voxels.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped, UInt8
from torch import Tensor

Affine = Float[np.ndarray, "4 4"]
Voxels = Num[np.ndarray, "channel size_i size_j size_k"]
LabelMap = UInt8[np.ndarray, "size_i size_j size_k"]
BinaryMask = Bool[np.ndarray, "size_i size_j size_k"]

PointsMm = Float[np.ndarray, "num_points 3"]
PointsIjk = Float[np.ndarray, "num_points 3"]
PointsPx = Float[np.ndarray, "num_points 2"]
PointLabels = Int[np.ndarray, " num_points"]
BoxPx = Float[np.ndarray, " 4"]

SlicePixels = Num[np.ndarray, "channel height width"]
SliceMask = Bool[np.ndarray, "height width"]
SliceLogits = Float[np.ndarray, "height width"]
CanvasBatch = Float[Tensor, "batch 3 side side"]
CanvasLogits = Float[Tensor, "batch 1 side side"]
FeatureMap = Float[Tensor, "batch _feature _feature_h _feature_w"]
Scores = Float[Tensor, " batch"]
ScanEmbedding = Float[np.ndarray, " _feature"]

RegionBatch = Float[Tensor, "batch channel size_i size_j size_k"]
TokenGrid = Float[Tensor, "batch feature size_i size_j size_k"]
QueryBatch = Float[Tensor, "query feature"]
RegionLogits = Float[Tensor, "batch query size_i size_j size_k"]
NameLogits = Float[Tensor, "batch name size_i size_j size_k"]
PaddedBatch = Float[Tensor, "batch channel padded_i padded_j padded_k"]
NamedGrids = Float[np.ndarray, "name cell_i cell_j cell_k"]
GridHu = Float[np.ndarray, "cell_i cell_j cell_k"]

HiddenStates = Float[Tensor, "batch _hidden"]
TokenEmbeddings = Float[Tensor, "_token _hidden"]
TokenBatch = Float[Tensor, "batch _token _hidden"]
Query = Float[Tensor, " _query"]
Queries = Float[Tensor, "batch _query"]
VoxelBatch = Float[Tensor, "batch 1 _size_i _size_j _size_k"]
PatchVoxels = Float[Tensor, "_size_i _size_j _size_k"]
CellFeatures = Float[Tensor, "_channel _cell_i _cell_j _cell_k"]
CellBatch = Float[Tensor, "batch _channel _cell_i _cell_j _cell_k"]

AnyArray = Shaped[np.ndarray, "..."]
