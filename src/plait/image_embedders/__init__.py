"""Frozen models that turn photos into states, once; one file an image embedder, named as its kind."""

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    # `plait data list` imports this room to see its files.
    import numpy as np
    from numpy.typing import NDArray

Device = Literal["auto", "cpu", "cuda"]
PhotoTokens = Literal["pooled", "patches"]
"""What is kept of a photo: one state, or one a patch."""


class ImageEmbedder(Protocol):
    """Turns photos into states; it is never trained."""

    @property
    def side(self) -> int:
        """The width and height of the photos it reads, in pixels."""

    @property
    def revision(self) -> str:
        """A text that changes whenever the states would."""

    def encode(
        self, photos: "NDArray[np.uint8]", tokens: PhotoTokens = "pooled", device: Device = "auto"
    ) -> "NDArray[np.float32]":
        """The states of RGB photos; a photo's states do not depend on the others (to 1e-5).

        Shape: (n, side, side, 3) -> (n, t, e), t = 1 when pooled. Units: photos from 0 to 255.
        """
