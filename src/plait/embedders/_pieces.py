"""The words of a text that its tokens stand for."""

from collections.abc import Sequence


def spelled(text: str, tokens: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[str]:
    """The part of a text up to the end of each token, from the end of the one before.

    Joined they are the beginning of the text, spaces kept. A token that stands for no further letter (a special token,
    a byte of a letter already given) is written by its own name.
    """
    pieces, end = [], 0
    for token, (_, stop) in zip(tokens, spans, strict=True):
        pieces.append(text[end:stop] or token)
        end = max(end, stop)
    return pieces
