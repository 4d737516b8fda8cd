"""Image models of transformers: tiny random ones in folders, their states computed apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plait.core.errors import FileError
from plait.image_embedders.pretrained import Pretrained, PretrainedConfig

SIDE, PATCH, WIDTH, JOINT = 33, 11, 14, 5
VISION = {
    "hidden_size": WIDTH, "intermediate_size": 7, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": SIDE, "patch_size": PATCH, "initializer_range": 0.3,
}  # fmt: skip
TEXT = {
    "hidden_size": 6, "intermediate_size": 7, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 11,
    "projection_dim": JOINT,
}  # fmt: skip
MEAN, SD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
PHOTOS = np.random.default_rng(3).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


def pixels() -> torch.Tensor:
    """The photos as the processor's file says, worked out apart. Shape: (3, 3, side, side)."""
    scaled = (PHOTOS.astype(np.float64) / 255 - MEAN) / SD
    return torch.tensor(scaled.transpose(0, 3, 1, 2), dtype=torch.float32)


def saved(folder: Path, model: Any, **processor: Any) -> Any:
    model.eval().save_pretrained(folder)
    said = {"image_mean": MEAN, "image_std": SD, "size": {"shortest_edge": SIDE}, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return model


def tiny_clip(folder: Path, **processor: Any) -> Any:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(3)
    config = CLIPConfig(text_config=TEXT, vision_config={**VISION, "projection_dim": JOINT}, projection_dim=JOINT)
    return saved(folder, CLIPModel(config), **processor)


def test_clip_gives_the_joint_space_or_its_patches(tmp_path: Path) -> None:
    model = tiny_clip(tmp_path)
    embedder = PretrainedConfig(path=str(tmp_path)).build()
    assert embedder.side == SIDE
    with torch.no_grad():
        out = model.vision_model(pixel_values=pixels())
        joint = model.visual_projection(out.pooler_output).numpy()
    found = embedder.encode(PHOTOS, device="cpu")
    assert found.shape == (3, 1, JOINT)
    np.testing.assert_allclose(found[:, 0], joint, atol=1e-5)
    patches = embedder.encode(PHOTOS, "patches", "cpu")
    assert patches.shape == (3, 1 + (SIDE // PATCH) ** 2, WIDTH)
    np.testing.assert_allclose(patches, out.last_hidden_state.numpy(), atol=1e-5)


def test_siglip_gives_what_its_pooler_attends_to(tmp_path: Path) -> None:
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(5)
    config = SiglipConfig(text_config={**TEXT, "hidden_size": WIDTH, "projection_size": WIDTH}, vision_config=VISION)
    model = saved(tmp_path, SiglipModel(config))
    with torch.no_grad():
        wanted = model.vision_model(pixel_values=pixels()).pooler_output.numpy()
    np.testing.assert_allclose(Pretrained(str(tmp_path)).encode(PHOTOS, device="cpu")[:, 0], wanted, atol=1e-5)


def test_a_pooler_without_weights_is_not_used(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(7)
    model = saved(tmp_path, ViTModel(ViTConfig(**VISION), add_pooling_layer=False))
    with torch.no_grad():
        wanted = model(pixel_values=pixels()).last_hidden_state.mean(dim=1).numpy()
    np.testing.assert_allclose(Pretrained(str(tmp_path)).encode(PHOTOS, device="cpu")[:, 0], wanted, atol=1e-5)


def test_a_convolutional_networks_map_is_its_patches(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(11)
    sizes = {"embedding_size": 6, "hidden_sizes": [7, 10], "depths": [1, 1], "layer_type": "basic"}
    model = saved(tmp_path, ResNetModel(ResNetConfig(**sizes)))
    with torch.no_grad():
        maps = model(pixel_values=pixels()).last_hidden_state.numpy()
    found = Pretrained(str(tmp_path)).encode(PHOTOS, "patches", "cpu")
    np.testing.assert_allclose(found[:, 1], maps[:, :, 0, 1], atol=1e-5)
    pooled = Pretrained(str(tmp_path)).encode(PHOTOS, device="cpu")
    np.testing.assert_allclose(pooled[:, 0], maps.mean(axis=(2, 3)), atol=1e-5)


def test_the_crop_of_the_processor_is_the_side(tmp_path: Path) -> None:
    crop = {"do_center_crop": True, "crop_size": {"height": 33, "width": 33}, "size": {"shortest_edge": 37}}
    tiny_clip(tmp_path, **crop)
    assert Pretrained(str(tmp_path)).side == 33


def test_the_revision_changes_with_the_processor(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    before = Pretrained(str(tmp_path)).revision
    said = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**said, "image_mean": [0.1, 0.1, 0.1]}))
    assert Pretrained(str(tmp_path)).revision != before


def test_what_is_no_such_model_is_told(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "clip")
    (tmp_path / "clip" / "preprocessor_config.json").unlink()
    with pytest.raises(FileError, match="holds no image processor"):
        Pretrained(str(tmp_path / "clip")).encode(PHOTOS)
    tiny_clip(tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(FileError, match="which is not read: it may run code"):
        Pretrained(str(tmp_path / "pickled")).encode(PHOTOS)
    tiny_clip(tmp_path / "timm")
    (tmp_path / "timm" / "config.json").write_text('{"architecture": "vit_base_patch16_224"}')
    with pytest.raises(FileError, match="is a model of timm"):
        Pretrained(str(tmp_path / "timm")).encode(PHOTOS)
    with pytest.raises(FileError, match="no such folder"):
        Pretrained(str(tmp_path / "absent")).encode(PHOTOS)
