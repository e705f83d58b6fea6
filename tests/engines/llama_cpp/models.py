"""The tiny models as GGUF files in float32, and the engine that runs them; tests skip where it is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from proxy.settings import ModelSettings
from tests.engines.tiny_models import save_tiny_model

if TYPE_CHECKING:
    from proxy.engines.llama_cpp.engine import LlamaEngine

FAMILIES = ["qwen2", "gpt-oss"]  # those our exporter writes


class LoadLlama(Protocol):
    def __call__(
        self, family: str, max_batch: int = 16, context_length: int | None = None, *, exact: bool = False
    ) -> "LlamaEngine": ...


@contextmanager
def full_precision() -> Iterator[None]:
    """Contexts made meanwhile keep keys and values in float32, so that rounding hides no mistake."""
    from proxy.engines.llama_cpp.library import llama

    defaults = llama.llama_context_default_params

    def parameters() -> Any:
        changed = defaults()
        changed.type_k = changed.type_v = llama.GGML_TYPE_F32
        changed.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it would round queries
        return changed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama, "llama_context_default_params", parameters)
        yield


def export_tiny(family: str, folder: Path, file: Path) -> Path:
    """The tiny model of a family, made in `folder` unless it is there, as a GGUF file."""
    pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
    from proxy.demo import gguf

    gguf.export(save_tiny_model(family, folder), file, "float32")
    return file


def load_tiny(file: Path, max_batch: int = 16, context_length: int | None = None) -> "LlamaEngine":
    """An engine of its own for a test that closes it."""
    from proxy.engines.llama_cpp.engine import load

    return load(ModelSettings("tiny", str(file), engine="llama_cpp", context_length=context_length), max_batch)


def llama_engines(models_folder: Path) -> Iterator[LoadLlama]:
    """Engines by family and settings, each loaded once."""
    files: dict[str, Path] = {}
    engines: dict[tuple[str, int, int | None, bool], LlamaEngine] = {}

    def engine(
        family: str, max_batch: int = 16, context_length: int | None = None, *, exact: bool = False
    ) -> "LlamaEngine":
        if family not in files:
            files[family] = export_tiny(family, models_folder / family, models_folder / f"{family}.gguf")
        key = (family, max_batch, context_length, exact)
        if key not in engines:
            with full_precision() if exact else nullcontext():
                engines[key] = load_tiny(files[family], max_batch, context_length)
        return engines[key]

    yield engine
    for loaded in engines.values():
        loaded.close()
