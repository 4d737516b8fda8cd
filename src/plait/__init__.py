"""plait: attention-based multimodal fusion, and proof of what each modality adds.

>>> import plait
>>> run = plait.fit("chimera", frame, texts, pred_len=12)      # doctest: +SKIP
>>> plait.load_run(run.folder).predict(frame, texts)           # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.api import Run, compare, explain, fit, load_run
    from plait.core.errors import PlaitError

__all__ = ["PlaitError", "Run", "compare", "explain", "fit", "load_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # torch, pandas and pydantic are imported by the first name that needs them, not by `import plait`.
    if name == "PlaitError":
        from plait.core.errors import PlaitError

        return PlaitError
    if name in __all__:
        from plait import api

        return getattr(api, name)
    raise AttributeError(f"module 'plait' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
