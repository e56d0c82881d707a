"""OHIF in a browser, used as an annotator uses it, and what its memory holds, which no annotator sees.

What is read from the page goes through the objects that OHIF itself puts on `window` (`services`,
`cornerstone`, `cornerstoneTools`); nothing of OHIF is replaced.
"""

import base64
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ARTEFACTS = Path(__file__).resolve().parents[2] / "test-output" / "ohif"
"""Screenshots, to look at after a run; git ignores the folder."""
_HARMLESS = ("/assets/android-chrome-144x144.png", "/train/?check_if_running=true")
"""An icon that OHIF's manifest names wrongly, and the protocol's way to say that no training runs."""
VIEWS_READY = """() => {
  if (!window.cornerstone || !window.services) return false;
  const views = cornerstone.getRenderingEngines().flatMap(engine => engine.getViewports());
  const volumes = views.map(view => view.getVolumeId && view.getVolumeId()).filter(Boolean)
    .map(id => cornerstone.cache.getVolume(id));
  return views.length === 3 && volumes.length === 3
    && volumes.every(volume => volume && volume.loadStatus && volume.loadStatus.loaded);
}"""
_PACK = """async bytes => {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  let text = '';
  for (let i = 0; i < packed.length; i += 32768) {
    text += String.fromCharCode.apply(null, packed.subarray(i, i + 32768));
  }
  return btoa(text);
}"""
_LABEL_MAP = f"""async () => {{
  const pack = {_PACK};
  const labels = services.segmentationService.getLabelmapVolume('1');
  const view = cornerstone.getRenderingEngines()[0].getViewports()[0];
  const scan = cornerstone.cache.getVolume(view.getVolumeId());
  return {{
    shape: labels.dimensions,
    images: scan.imageIds,
    names: Object.fromEntries(Object.values(
      services.segmentationService.getSegmentation('1').segments).map(s => [s.label, s.segmentIndex])),
    voxels: await pack(Uint8Array.from(labels.voxelManager.getCompleteScalarDataArray())),
  }};
}}"""
_STORED_SEG = f"""async seriesUid => {{
  const pack = {_PACK};
  const sets = services.displaySetService.getActiveDisplaySets();
  const seg = sets.find(set => set.Modality === 'SEG' && set.referencedSeriesInstanceUID === seriesUid);
  await seg.load({{headers: {{}}}});
  const scan = services.displaySetService.getDisplaySetByUID(seg.referencedDisplaySetInstanceUID);
  return {{
    images: scan.instances.map(instance => instance.imageId),
    shape: [scan.instances[0].Columns, scan.instances[0].Rows, scan.instances.length],
    overlapping: Boolean(seg.overlappingSegments),
    names: Object.fromEntries(
      seg.segMetadata.data.slice(1).map(s => [s.SegmentLabel, Number(s.SegmentNumber)])),
    voxels: await pack(new Uint8Array(seg.labelmapBufferArray[0])),
  }};
}}"""
_HAS_SEG = """() => window.services
  && services.displaySetService.getActiveDisplaySets().some(
    set => set.Modality === 'SEG' && set.referencedDisplaySetInstanceUID)"""
_POINT = """point => {
  const views = cornerstone.getRenderingEngines().flatMap(engine => engine.getViewports());
  const view = views.find(view => Math.abs(view.getCamera().viewPlaneNormal[2]) > 0.7);
  view.jumpToWorld(point);
  view.render();
  const [x, y] = view.worldToCanvas(point);
  const box = view.canvas.getBoundingClientRect();
  return [box.left + x, box.top + y];
}"""


@dataclass(frozen=True)
class LabelsInPage:
    """A segmentation as OHIF holds it.

    Attributes:
        values: shape (columns, rows, slices); slices in OHIF's order.
        sop_uids: SOPInstanceUID of each slice of the scan, in OHIF's order.
        names: segments' names and values.
    """

    values: np.ndarray
    sop_uids: tuple[str, ...]
    names: dict[str, int]

    def on_slices(self, sop_uids: list[str]) -> np.ndarray:
        """The values with slices in another order, that of their UIDs."""
        return self.values[:, :, [self.sop_uids.index(uid) for uid in sop_uids]]


def _labels(found: dict[str, Any]) -> LabelsInPage:
    voxels = np.frombuffer(zlib.decompress(base64.b64decode(found["voxels"])), dtype=np.uint8)
    uids = tuple(image.split("/instances/")[1].split("/")[0] for image in found["images"])
    return LabelsInPage(voxels.reshape(found["shape"], order="F"), uids, found["names"])


@dataclass
class Ohif:
    """OHIF in a page.

    Attributes:
        page: Playwright's.
        address: of our server.
        console: what the page wrote as an error.
        failed: requests that got an error, as "STATUS ADDRESS".
    """

    page: Any
    address: str
    console: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("response", self._note)

    def _note(self, response):
        if response.status >= 400 and not response.url.endswith(_HARMLESS):
            self.failed.append(f"{response.status} {response.url}")

    def screenshot(self, name: str) -> None:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(1500)  # toasts fade, canvases are drawn
        self.page.screenshot(path=ARTEFACTS / f"{name}.png")

    def open_list(self, query: str = "") -> None:
        self.page.goto(f"{self.address}/ohif/{query}", wait_until="commit")
        self.page.locator('[data-cy^="studyRow-"]').first.wait_for()
        self.page.wait_for_load_state("networkidle")
        self.hide_notice()

    def hide_notice(self) -> None:
        """That OHIF is for investigation only; once confirmed it stays hidden in this browser."""
        button = self.page.get_by_role("button", name="Confirm and Hide")
        if button.is_visible():
            button.click()

    def listed(self) -> list[str]:
        """StudyInstanceUIDs of the rows."""
        rows = self.page.locator('[data-cy^="studyRow-"]').all()
        return [row.get_attribute("data-cy").removeprefix("studyRow-") for row in rows]

    def open_study(self, study_uid: str) -> None:
        """A click on the row, then on the button with the mode's name."""
        self.page.locator(f'[data-cy="studyRow-{study_uid}"]').click()
        self.page.locator(f'[data-cy="mode-monai-label-{study_uid}"]').click()
        self.wait_for_views()

    def go_to_study(self, study_uid: str) -> None:
        """As a link that somebody was sent."""
        address = f"{self.address}/ohif/monai-label?StudyInstanceUIDs={study_uid}"
        self.page.goto(address, wait_until="commit")

    def wait_for_views(self) -> None:
        self.page.locator("#monailabelServerURL").wait_for()
        self.page.wait_for_function(VIEWS_READY, polling=500)
        self.hide_notice()

    def connect(self) -> None:
        """The button beside the server's address, which is right already."""
        self.page.locator(".settingsTable .actionButton").click()
        self.page.locator(".monaiLabelPanel .tabs").wait_for()
        self.page.wait_for_function("() => services.segmentationService.getLabelmapVolume('1')", polling=500)
        self.page.wait_for_timeout(1500)  # OHIF colours the segments a second later

    def open_tab(self, name: str) -> Any:
        """One of the panel's tabs."""
        tab = self.page.locator(".monaiLabelPanel .tab", has=self.page.get_by_text(name, exact=True))
        tab.locator("label.tab-label").click()
        return tab

    def choose(self, tab: Any, label: str) -> None:
        tab.locator(".clickable-row", has=self.page.get_by_text(label, exact=True)).click()

    def click_at(self, point_lps_mm: list[float]) -> None:
        """A click of the mouse on the axial view, on the slice of the point."""
        x, y = self.page.evaluate(_POINT, [float(value) for value in point_lps_mm])
        self.page.wait_for_timeout(500)
        self.page.mouse.move(x, y)
        self.page.mouse.click(x, y)
        self.page.wait_for_timeout(500)

    def run(self, tab: Any, model: str) -> dict[str, Any]:
        """The button *Run*; what OHIF asked for."""
        with self.page.expect_response(lambda reply: f"/infer/{model}" in reply.url) as waited:
            tab.locator(".actionButton").first.click()
        reply = waited.value
        assert reply.status == 200, reply.text()
        self.page.get_by_text("Successful").last.wait_for()
        return params_of(reply.request)

    def labels(self) -> LabelsInPage:
        """What the panel has drawn."""
        return _labels(self.page.evaluate(_LABEL_MAP))

    def stored_seg(self, series_uid: str) -> LabelsInPage:
        """The stored DICOM SEG of a series, read by OHIF."""
        self.page.wait_for_function(_HAS_SEG, polling=500)
        return _labels(self.page.evaluate(_STORED_SEG, series_uid))


def params_of(request: Any) -> dict[str, Any]:
    """The field `params` of a form."""
    body = request.post_data_buffer.decode(errors="replace")
    return json.loads(body.split('name="params"', 1)[1].split("\r\n\r\n", 1)[1].split("\r\n", 1)[0])
