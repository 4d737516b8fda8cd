"""Facts: which text cells say something, and what is left of them without headers and "nothing found" sentences."""

import re
from typing import Literal, NamedTuple


class Reading(NamedTuple):
    """What a cell says: its text, or why it says nothing.

    `text` is the cell without marks, header and void sentences, one space between sentences; empty when void. `void`
    is "" for a usable cell, else the reason. `cut` is the number of void sentences taken out of a usable cell.
    """

    text: str
    void: Literal["", "empty", "not available", "nothing found"]
    cut: int


_FEWEST_WORDS = 4

_MARKS = re.compile(r"[*`]+|^[ \t]*(?:#{1,6}|[-•])[ \t]+", re.MULTILINE)
# Plural and no sentence of its own: "The objective fact is that ..." and "The objective facts are scarce." stay.
_HEADER = re.compile(
    r"(?:the (?:following are )?)?objective facts\b(?![^:\n]*(?-i:[a-z])\.(?:\s|$))[^:\n]*(?::|\n|$)", re.IGNORECASE
)
_NOT_AVAILABLE = re.compile(r"(?:NA|N/A|None|Not applicable|Not available|Nothing)\b")

_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)\s+(?=[A-Z])|\n")

# "evidence", "details" and "statistics" are left out: "no evidence that ..." is a fact.
_NO_INFORMATION = re.compile(
    r"\bno(?:t any)? (?:[\w-]+,? ){0,3}(?:information|facts?|data|mentions?) (?:or \w+ )?(?:\w+ )?"
    r"(?:about|available|can|for|found|from|in|is|are|was|were|mentioned|of|on|provided|regarding|related|that|to)\b",
    re.IGNORECASE,
)
# At most eight words between source and verb: a sentence that first says what its source does hold is kept.
_SOURCE_LACKS = re.compile(
    r"\b(?:results?|reports?|records?|texts?|articles?|documents?|datasets?|data|excerpts?|sources?|information)"
    r"(?: \S+){0,8} do(?:es)? not (?:\w+ )?(?:provide|contain|mention|include|offer|give)\b",
    re.IGNORECASE,
)
_NOT_MENTIONED = re.compile(
    r"\b(?:is|are|was|were) not (?:\w+ )?(?:mentioned|provided|available|stated)\b"
    r"(?=.*\b(?:search(?:ed)? results?|reports?|texts?|excerpts?)\b)",
    re.IGNORECASE,
)
_BESIDE_THE_POINT = re.compile(
    r"\b(?:results?|information)\b.*\b(?:irrelevant|unrelated|not (?:\w+ )?(?:relevant|related))\b"
    r"|\bnot (?:be )?directly (?:relevant|related) to\b",
    re.IGNORECASE,
)
_FILLER = re.compile(r"\bI will fill in\b|^(?:NA|N/A)\b[\s.]*(?:\(.*\)[\s.]*)?$")
_DENIALS = (_NO_INFORMATION, _SOURCE_LACKS, _NOT_MENTIONED, _BESIDE_THE_POINT, _FILLER)
_FOLLOWS = re.compile(r"(?:However|But|Therefore|Some results|The (?:search )?results (?:are|appear|seem))\b")


def read_fact(cell: str) -> Reading:
    """The usable text of a cell, or why there is none.

    In this order: nothing there is "empty"; nothing but marks and a header, or a first word such as NA, is "not
    available"; sentences that only deny are cut, and when fewer than four words are left it is "nothing found". A
    usable text reads as itself.
    """
    if not cell.strip():
        return Reading("", "empty", 0)
    text, total = cell, 0
    while True:
        before, text = text, _without_header(text)
        if not text or _NOT_AVAILABLE.match(text):
            return Reading("", "nothing found" if total else "not available", 0)
        text, cut = _without_void(text)
        total += cut
        if len(text.split()) < _FEWEST_WORDS:
            return Reading("", "nothing found", 0)
        if text == before:
            return Reading(text, "", total)


def _without_header(cell: str) -> str:
    """The cell without markdown marks and a leading header, which ends at its colon or at the line's end."""
    text = _MARKS.sub("", cell).lstrip(" \t\r\n:").rstrip()
    header = _HEADER.match(text)
    return text[header.end() :].lstrip(" \t\r\n:") if header else text


def _without_void(text: str) -> tuple[str, int]:
    """The sentences that are not void, one space apart, and how many were cut."""
    kept: list[str] = []
    parts = [" ".join(part.split()) for part in sentences(text)]
    void = False
    for sentence in parts:
        void = _denies(sentence) or (void and _FOLLOWS.match(sentence) is not None)
        if not void:
            kept.append(sentence)
    # An introduction to sentences that were all cut introduces nothing.
    while len(kept) < len(parts) and kept and kept[-1].endswith(":"):
        kept.pop()
    return " ".join(kept), len(parts) - len(kept)


def sentences(text: str) -> list[str]:
    """The sentences, as they stand: parted at line ends and after . ! ? before a capital.

    The dots of "U.S." and of single initials part nothing.
    """
    return [part for part in map(str.strip, _SENTENCE_END.split(text)) if part]


def _denies(sentence: str) -> bool:
    """Whether a sentence says only that its source holds nothing, or nothing on the subject.

    A turn that states a number, "... is not mentioned, but the price of diesel is 3.10", saves its sentence.
    """
    if not any(denial.search(sentence) for denial in _DENIALS):
        return False
    turn = sentence.rpartition(", but ")[2]
    return not any(map(str.isdigit, turn)) or any(denial.search(turn) for denial in _DENIALS)
