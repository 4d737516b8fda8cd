"""Small files as tests write them."""

import zipfile
from pathlib import Path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """A zip with these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def written(path: Path, text: str | bytes) -> Path:
    """A file with this content."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
