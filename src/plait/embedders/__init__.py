"""Frozen models that turn texts into states, once; one file an embedder, named as its kind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    # `plait data list` imports this room to see its files.
    import numpy as np
    from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns texts into states; it is never trained by gradient.

    One with `fits` has also `fit(texts)`, to be called with train texts, `fitted()`, which gives what it learned, and
    `restore(*fitted)`; its `dim`, `revision` and `encode` are there after one of the two.
    """

    fits: ClassVar[bool]

    @property
    def dim(self) -> int:
        """The width of a state."""

    @property
    def revision(self) -> str:
        """A text that changes whenever the states would."""

    def length(self, max_tokens: int) -> int:
        """How many states a text has room for: `max_tokens`, or 1 where a text has one state."""

    def encode(self, texts: Sequence[str], max_tokens: int) -> "tuple[NDArray[np.float32], NDArray[np.bool_]]":
        """The states of texts cut to `max_tokens` tokens.

        Shape: states (n, l, e), mask (n, l), with l = `length(max_tokens)`.
        Mask: the present states of a text come first; an empty text has none; what is absent is 0.
        """

    def pieces(self, texts: Sequence[str], max_tokens: int) -> list[list[str]]:
        """What each present state of `encode` stands for, in words: as many pieces a text as its mask has True."""
