"""Every option that clients send, and how much of each is allowed."""

from collections.abc import Mapping

OPTIONS: Mapping[str, str] = {
    "foreground": "OHIF, Slicer, CVAT: clicks on the object, [[i, j, k], ...]",
    "background": "OHIF, Slicer, CVAT: clicks off the object",
    "points": "OHIF's VISTA3D form: clicks of both kinds",
    "point_labels": "OHIF's VISTA3D form: 1 or 0 for each of points",
    "roi": "Slicer: [i0, i1, j0, j1, k0, k1], each pair in any order; CVAT: [x1, y1, x2, y2]",
    "box": "own: [[i0, j0, k0], [i1, j1, k1]], low corner first, or a list of such boxes",
    "objects": "own: {name: {foreground, background, box, roi}}, several objects at once",
    "label": "Slicer: name of the segment that is drawn",
    "selected_label_name": "Slicer's scribbles: name of the segment that is drawn",
    "label_info": "Slicer's scribbles: [{name, id}], what the values of the uploaded label map mean",
    "text": "own: a sentence or a name",
    "question": "own: a question about the scan, in English",
    "fhir": "own: of report, the report as a FHIR R4 DiagnosticReport too, true or false",
    "paths": "own: of diagnosis, how many paths of reasoning, 1 to 4",
    "perturbations": "own: of diagnosis, from how many looks at the picture, 1 to 4",
    "seconds": "own: of diagnosis, no further reading is begun after so long",
    "structures": "own: names of the structures to segment, a list or separated by commas",
    "slice": "Slicer in 2D: the slice that 2D points and boxes lie on",
    "axis": "own: auto, axial, coronal, sagittal, or the voxel axis 0, 1 or 2 across the slices",
    "propagation": "own: how the mask goes from slice to slice",
    "window": "own: intensity preset",
    "undo": "own: answer with the mask of the step before",
    "reset_state": "Slicer: forget this user's earlier steps on the object",
    "session_id": "own: the session, where it is not in the address",
    "client_id": "MONAILabelClient, Slicer: who asks",
    "result_extension": "OHIF, Slicer: file format of the mask",
    "result_dtype": "OHIF, Slicer: uint8",
    "result_compress": "OHIF: whether the file is compressed",
    "restore_label_idx": "OHIF: values as in the model's labels; masks of one object are 1 either way",
    "save_label": "MONAI Label's batch inference: keep the mask in the datastore",
    "label_tag": "MONAI Label's batch inference: under which tag",
    "output": "CVAT: ignored, the address says what comes back",
    "device": "MONAI Label: ignored, the operator chooses the device",
    "logging": "MONAI Label: ignored",
    "timeout": "MONAI Label: ignored",
    "images": "MONAI Label's batch inference: ignored",
    "multi_gpu": "MONAI Label's batch inference: ignored",
    "gpus": "MONAI Label's batch inference: ignored",
    "max_workers": "MONAI Label's batch inference: ignored",
    "max_batch_size": "MONAI Label's batch inference: ignored",
    "_id": "MONAI Label's batch inference: ignored",
    "_image_id": "MONAI Label's batch inference: ignored",
}
"""Every option, who sends it, and what it is."""

SERVER_KEYS = frozenset({"model", "image", "description", "session", "scribbles", "study_uid"})
"""Set by the server from the address and the uploads; a client's params must not hold them."""

RESULT_SUFFIXES = (".nrrd", ".seg.nrrd", ".nii", ".nii.gz", ".png")
AUTO = "auto"
"""The word for no choice, where viewers offer a list."""
AXES = (AUTO, "axial", "coronal", "sagittal", "0", "1", "2")
MAX_OBJECTS = 64
MAX_STRUCTURES = 255
MAX_SECONDS = 300
MAX_TEXT_CHARACTERS = 1000
MAX_QUESTION_CHARACTERS = 100_000
"""What is longer than a question can be is answered so; beyond this it is refused."""
MAX_NAME_CHARACTERS = 64
MAX_PARAMS_BYTES = 1_000_000
DEFAULT_LABEL = "object"
"""What a mask is called when the client does not say, as OHIF does not."""

OBJECT_KEYS = frozenset({"foreground", "background", "points", "point_labels", "box", "roi"})
SHARED_CLIENT_IDS = frozenset({"", "user-xyz"})
"""Slicer's default is the same for everybody, so it says nothing about who asks."""
