"""The engines that run the slice encoder: same embedding, whoever computes it, and nothing sent."""

import logging
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from conftest import REPOSITORY
from lib.errors import ConfigError
from lib.model.build import build_sam2, load_sam2
from lib.model.config import load_segmenter_config
from lib.model.engine import EngineChoice, TorchDecoder, TorchEngine, make_engine
from lib.model.engine_openvino import OpenVinoDecoder, OpenVinoEngine
from lib.model.slice_encoder import TinyVitEncoder, fuse_batch_norm
from lib.model.volume_segmenter import SlicePrompt, VolumeSegmenter
from lib.model.weights import WeightsState, default_name, default_weights_dir, find_entry, weights_state
from lib.predict import load_predictor

CPU = torch.device("cpu")


def encoder_with_statistics() -> TinyVitEncoder:
    """Random parameters, and batch normalisation that does something."""
    torch.manual_seed(0)
    encoder = TinyVitEncoder().eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
        if hasattr(module, "attention_biases"):
            torch.nn.init.normal_(module.attention_biases)
    return encoder


def largest_difference(encoder: TinyVitEncoder, side: int) -> float:
    canvas = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = encoder(canvas)["vision_features"]
    (found,) = OpenVinoEngine(encoder, side, 1).encode(canvas)
    assert found.shape == expected.shape
    return float((found - expected).abs().max())


@pytest.mark.parametrize("side", [64, 96, 112])  # 112: windows fit without padding
def test_openvino_computes_what_the_network_computes_at_any_size_of_the_canvas(side):
    encoder = encoder_with_statistics()
    fuse_batch_norm(encoder)
    assert largest_difference(encoder, side) < 1e-4


def test_an_encoder_that_can_still_be_trained_gives_the_same_and_stays_as_it_was():
    encoder = encoder_with_statistics()
    assert largest_difference(encoder, 64) < 1e-4
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in encoder.modules())


def test_an_embedding_does_not_depend_on_who_else_waits():
    engine = OpenVinoEngine(encoder_with_statistics(), 64, 2)
    canvases = torch.rand(6, 1, 3, 64, 64).unbind()
    alone = [engine.encode(canvas)[0].clone() for canvas in canvases]
    together: dict[int, torch.Tensor] = {}
    threads = [
        threading.Thread(target=lambda n=n: together.update({n: engine.encode(canvases[n])[0]}))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(alone[n], together[n]) for n in range(6))


@pytest.fixture(scope="module")
def installed():
    """The default weights and their configuration."""
    name, folder = default_name(), default_weights_dir()
    if weights_state(find_entry(name, folder), folder) is not WeightsState.VERIFIED:
        pytest.skip(f"the weights {name} are not installed; run: medvl weights fetch")
    return load_sam2(name, folder)


def test_masks_of_the_installed_weights_are_the_same_with_both_engines(installed):
    sam2, config = installed
    rows, cols = np.mgrid[:256, :256]
    picture = np.where((rows - 120) ** 2 / 2 + (cols - 140) ** 2 < 40**2, 0.8, 0.3)
    picture = picture + 0.05 * np.sin(rows / 3) * np.cos(cols / 5)
    canvas = torch.from_numpy(picture.astype(np.float32)).expand(1, 3, -1, -1)
    masks = []
    for choice in (EngineChoice.TORCH, EngineChoice.OPENVINO):
        segmenter = VolumeSegmenter(sam2, config, "x", CPU, make_engine(choice, sam2, config))
        with torch.inference_mode():
            (embedding,) = segmenter.encode(canvas)
            prompt = SlicePrompt(box_px=np.array([95.0, 60.0, 185.0, 180.0]))
            masks.append(segmenter.decode(embedding, prompt).mask_logits.numpy() > 0)
    assert masks[0].sum() > 500
    assert 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()) >= 0.999


def test_what_serves_encodes_and_decodes_by_the_engine_that_was_asked_for(installed):
    for choice, kinds in (
        (EngineChoice.AUTO, (OpenVinoEngine, OpenVinoDecoder)),
        (EngineChoice.TORCH, (TorchEngine, TorchDecoder)),
    ):
        segmenter = load_predictor(default_name(), default_weights_dir(), "cpu", 0, choice).segmenter
        assert (type(segmenter.engine), type(segmenter.decoder)) == kinds


def test_the_fastest_engine_is_chosen_and_said_in_the_log(caplog):
    caplog.set_level(logging.INFO)
    engine = make_engine(EngineChoice.AUTO, *tiny_sam2())
    assert isinstance(engine, OpenVinoEngine)
    assert engine.identity in caplog.text


def test_without_openvino_slices_are_encoded_by_torch_and_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "openvino.opset13", None)
    assert isinstance(make_engine(EngineChoice.AUTO, *tiny_sam2()), TorchEngine)
    assert "OpenVINO cannot be started" in caplog.text


def test_openvino_asked_for_and_absent_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "openvino.opset13", None)
    with pytest.raises(ConfigError, match="choose --conf engine"):
        make_engine(EngineChoice.OPENVINO, *tiny_sam2())


def test_an_encoder_that_openvino_is_not_built_for_runs_in_torch():
    config = load_segmenter_config("sam2.1-hiera-tiny")
    sam2 = build_sam2(config).eval()
    assert isinstance(make_engine(EngineChoice.AUTO, sam2, config), TorchEngine)
    with pytest.raises(ConfigError, match="hiera"):
        make_engine(EngineChoice.OPENVINO, sam2, config)


def test_openvino_is_used_without_its_telemetry_and_nothing_is_left_behind(tmp_path):
    """In a process of its own with an empty home, where every connection is an error."""
    script = """
import socket, sys
def refuse(*args): raise SystemExit(f"connects to {args[1]}")
socket.socket.connect = socket.socket.connect_ex = refuse
from lib.model.engine_openvino import OpenVinoEngine
from lib.model.slice_encoder import TinyVitEncoder
engine = OpenVinoEngine(TinyVitEncoder().eval(), 64, 1)
loaded = [name for name in sys.modules if name.split(".")[0] == "openvino_telemetry"]
assert not loaded, loaded
"""
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY / "apps" / "medvl")}
    for name in ("CI", "XDG_CACHE_HOME"):  # telemetry keeps quiet in CI, and this must not hide it
        environment.pop(name, None)
    run = [sys.executable, "-W", "error:::lib", "-c", script]
    finished = subprocess.run(run, env=environment, capture_output=True, text=True, check=False, timeout=250)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert list(tmp_path.iterdir()) == []


def tiny_sam2():
    """The default network with random parameters, and its configuration."""
    config = load_segmenter_config("lite-medsam")
    return build_sam2(config).eval(), config
