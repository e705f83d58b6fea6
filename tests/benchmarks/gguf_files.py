"""Makes the GGUF files that are measured. Needs the extra llama-cpp, but not to be imported."""

import os
import shutil
from pathlib import Path

from proxy.errors import SetupError
from tests.benchmarks.random_model import write_random_vectors


def copy_endless(source: Path, file: Path) -> None:
    """Copy a model, but with the logits of the tokens that end an answer zero, which is never the highest."""
    from gguf import GGUFReader

    shutil.copyfile(source, file)
    output = next(tensor for tensor in GGUFReader(file, "r+").tensors if tensor.name == "output.weight")
    output.data[list(end_ids(file))] = 0


def export(folder: Path, file: Path) -> None:
    """A model of transformers, its matrices in float16."""
    from proxy.demo import gguf

    gguf.export(folder, file)


def quantise(source: Path, file: Path) -> None:
    """A file in float16 as one in Q8_0."""
    from proxy.engines.llama_cpp.library import llama

    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype = llama.LLAMA_FTYPE_MOSTLY_Q8_0
    if llama.llama_model_quantize(os.fsencode(source), os.fsencode(file), parameters) != 0:
        raise SetupError(f"{source}: llama.cpp can't quantise it")


def end_ids(file: Path) -> tuple[int, ...]:
    """The tokens that end an answer, as llama.cpp knows them by their texts, whatever the file says of them."""
    from proxy.engines.llama_cpp.model import LlamaModel
    from proxy.engines.llama_cpp.vocabulary import Vocabulary

    return tuple(Vocabulary(LlamaModel(file, vocabulary_only=True)).end_ids)


def write_vectors(folder: Path, model_id: str, file: Path) -> None:
    """Random vectors for this file's weights and no others, in place of older ones."""
    from proxy.engines.gguf.file import file_fingerprint
    from proxy.engines.llama_cpp.model import LlamaModel

    model = LlamaModel(file, vocabulary_only=True)
    architecture = model.metadata("general.architecture")
    n_layers, hidden_size = (
        int(model.metadata(f"{architecture}.{key}") or 0) for key in ("block_count", "embedding_length")
    )
    shutil.rmtree(folder, ignore_errors=True)
    write_random_vectors(folder, model_id, file_fingerprint(file), n_layers, hidden_size)
