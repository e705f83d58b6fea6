"""One model to serve, as an operator sets it, and those that need no setting: the demo models, which come with the
package, and the known ones, whose files are at a place of their own once they are downloaded."""

import importlib.resources
import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import platformdirs
from msgspec import Meta

from proxy.catalogue.known import KNOWN
from proxy.settings.upstream import UpstreamSettings

GGUF = ".gguf"
DEMO_FOLDER = Path(str(importlib.resources.files("proxy"))) / "demo"
KNOWN_FOLDER = DEMO_FOLDER.with_name("catalogue")


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model to serve. `source` is a Hugging Face hub name, a folder, a GGUF file, which either engine runs, or
    where other servers have it."""

    id: Annotated[
        str,
        Meta(
            pattern=r"^[^/]+(/[^/]+)?$",
            description="The name clients ask for, with one slash at most; by default the hub, folder or file name, or "
            "that of the other servers",
        ),
    ]
    source: Annotated[
        str,
        Meta(
            min_length=1,
            description="A Hugging Face hub name, a folder, a `.gguf` file, the id of a known or a demo model, or "
            "`URL#NAME`: the API of another server, or of several with spaces between them, and the model's name there",
        ),
    ]
    engine: Annotated[
        Literal["transformers", "llama_cpp", "vllm", "upstream"],
        Meta(
            description="What runs it: `transformers`, or, for a `.gguf` file and its default where the extra "
            "`llama-cpp` is installed, `llama_cpp`; `vllm`, which the extra `vllm` brings, runs folders and hub names; "
            "`upstream` for `URL#NAME`, which nothing else can be"
        ),
    ] = "transformers"
    device: Annotated[
        str,
        Meta(
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
            description="`auto` (CUDA, else Apple's MPS, else the CPU), `cuda`, `cuda:1`, `mps` or `cpu`",
        ),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(
            description="`auto` (what suits model and device), `float32`, `bfloat16` or `float16`; GGUF files keep "
            "theirs"
        ),
    ] = "auto"
    context_length: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Tokens of prompt and answer together, 1 or more; by default the model's own limit (of GGUF "
            "files at most 32768)"
        ),
    ] = None
    load: Annotated[
        Literal["start", "demand"],
        Meta(description="When it is loaded: at the server's `start`, or on `demand`, when first asked for"),
    ] = "start"
    unload_after_s: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(
            description="Seconds without a request, above 0, after which it gives its memory back until asked for again"
        ),
    ] = None
    upstream: Annotated[
        UpstreamSettings | None,
        Meta(description="A table of its own: how other servers are asked"),
    ] = None


def demo_models() -> list[ModelSettings]:
    """The small models that come with the package and need no download: two, and with the extra llama-cpp one of them
    once more, as a GGUF file."""
    return [model for model in _all_demo_models() if _has_llama_cpp() or not model.source.endswith(GGUF)]


def _has_llama_cpp() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def _all_demo_models() -> list[ModelSettings]:
    folder = DEMO_FOLDER / "models"
    models = [ModelSettings(f"demo-{name}", str(folder / name)) for name in ("qwen2", "gpt-oss")]
    file = folder / "gpt-oss" / "model-f16.gguf"
    return [*models, ModelSettings("demo-gpt-oss-gguf", str(file), engine=engine_of_files())]


def engine_of_files() -> Literal["transformers", "llama_cpp"]:
    """What runs a GGUF file by default: llama.cpp where it is installed, since it starts sooner and answers faster."""
    return "llama_cpp" if _has_llama_cpp() else "transformers"


def data_folder(name: str) -> Path:
    """A folder of this name in the user's data folder; it need not exist."""
    return platformdirs.user_data_path("persona-proxy", appauthor=False) / name


def models_folder() -> Path:
    """Where the files of models are kept that were downloaded; it need not exist."""
    return data_folder("models")


def place_of(name: str) -> str | None:
    """Where a demo model is, or the file of a known one, be it downloaded or not. None for any other name."""
    if name in KNOWN:
        return str(KNOWN[name].place(models_folder()))
    return next((demo.source for demo in _all_demo_models() if demo.id == name), None)
