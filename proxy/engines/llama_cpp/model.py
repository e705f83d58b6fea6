"""A GGUF file in llama.cpp: its weights in memory, and what it says of itself there."""

import ctypes
import os
import weakref
from pathlib import Path
from typing import Any

from proxy.engines.llama_cpp.library import complaints, llama, start
from proxy.errors import SetupError

DEFAULT_CONTEXT_LENGTH = 32768  # at most, unless the settings ask for more: room for it is taken when a model loads


class LlamaModel:
    """A loaded file; with `vocabulary_only` just its metadata and vocabulary. Freed when nothing refers to it."""

    def __init__(self, file: Path, device: str = "cpu", *, vocabulary_only: bool = False) -> None:
        """SetupError for a file that can't be used, or does not fit into memory."""
        start()
        on_gpu = _uses_gpu(device)
        if not (vocabulary_only or on_gpu):
            _check_memory(file)
        parameters = llama.llama_model_default_params()
        parameters.vocab_only = vocabulary_only
        parameters.n_gpu_layers = -1 if on_gpu else 0
        if on_gpu and ":" in device:
            parameters.split_mode, parameters.main_gpu = llama.LLAMA_SPLIT_MODE_NONE, int(device.partition(":")[2])
        with complaints() as heard:
            self.handle: Any = llama.llama_model_load_from_file(os.fsencode(file), parameters)
        if not self.handle:
            raise SetupError(f"{file}: can't be loaded: {_reason(heard)}")
        # Not when the process ends: a step might be under way.
        weakref.finalize(self, llama.llama_model_free, self.handle).atexit = False
        self.file = file
        self.device = "gpu" if on_gpu else "cpu"
        self.vocabulary: Any = llama.llama_model_get_vocab(self.handle)
        self.n_tokens: int = llama.llama_vocab_n_tokens(self.vocabulary)
        self.n_layers: int = llama.llama_model_n_layer(self.handle)
        self.n_bytes: int = llama.llama_model_size(self.handle)
        self.hidden_size: int = llama.llama_model_n_embd(self.handle)
        self.trained_length: int = llama.llama_model_n_ctx_train(self.handle)
        self.window: int = llama.llama_model_n_swa(self.handle)  # tokens; 0 where all blocks see all
        self.trimmed_block: int | None = None  # what Context.find_trimmed_block says, once it was asked

    def metadata(self, key: str) -> str | None:
        """What the file says under `key`, as text; None where it says nothing."""
        size = llama.llama_model_meta_val_str(self.handle, key.encode(), None, 0)
        if size < 0:
            return None
        text = ctypes.create_string_buffer(size + 1)
        llama.llama_model_meta_val_str(self.handle, key.encode(), text, size + 1)
        return text.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        """The file's own, where it has one."""
        template: bytes | None = llama.llama_model_chat_template(self.handle, None)
        return None if template is None else template.decode("utf-8", "replace")

    @property
    def precision(self) -> str:
        """How the weights are stored, as llama.cpp calls it: "F16", "Q8_0", ..."""
        name: bytes | None = llama.llama_ftype_name(llama.llama_model_ftype(self.handle))
        return "unknown" if name is None else name.decode()

    @property
    def keeps_all_positions(self) -> bool:
        """Whether what is kept of a text is kept token by token, so that it can be cut and shared."""
        return not (llama.llama_model_is_recurrent(self.handle) or llama.llama_model_is_hybrid(self.handle))


def context_length(trained: int, wanted: int | None) -> int:
    """Tokens of prompt and answer together."""
    if wanted is not None and wanted > trained:
        raise SetupError(f"context_length {wanted} is more than the model's {trained}")
    return wanted or min(trained, DEFAULT_CONTEXT_LENGTH)


def _uses_gpu(device: str) -> bool:
    supported: bool = llama.llama_supports_gpu_offload()
    if device not in ("auto", "cpu") and not supported:
        raise SetupError(
            f"device {device}: llama-cpp-python was built without it; docs/guide/models.md says how to build it in"
        )
    return supported and device != "cpu"


def _check_memory(file: Path) -> None:
    """llama.cpp maps files that are larger than the memory too, and then reads the disk for every token."""
    if not hasattr(os, "sysconf"):
        return
    needed, there = file.stat().st_size, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise SetupError(f"{file}: needs {needed / 2**30:.1f} GiB of memory; this machine has {there / 2**30:.1f} GiB")


def _reason(heard: list[str]) -> str:
    """The most telling of llama.cpp's complaints, without the names of its functions before it."""
    telling = [line for line in heard if "error loading model" in line] or heard[:1] or ["llama.cpp doesn't say why"]
    return telling[0].rpartition("error loading model: ")[2].removeprefix("llama_model_load: ")[:300]
