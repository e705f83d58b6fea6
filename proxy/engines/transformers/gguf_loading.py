"""From a GGUF file to a model of transformers: its configuration, tokenizer and weights, these as they were before they
were quantised, less what that lost.

What transformers would read wrongly is refused here, in a SetupError of one line that names llama.cpp as the way out.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import gguf
import torch
from tqdm import tqdm
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    modeling_gguf_pytorch_utils,
)
from transformers.utils.logging import disable_progress_bar

from proxy.engines.gguf.byte_pairs import MARKER, byte_pair_tokenizer
from proxy.engines.gguf.file import GgufFile
from proxy.engines.gguf.word_cutting import word_cutting
from proxy.engines.transformers.loading import one_at_a_time
from proxy.errors import SetupError, first_line

_IN_LLAMA_CPP = "llama.cpp may run it: pip install 'persona-steering-proxy[llama-cpp]'"
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # kinds of tokens
# What ends an answer, whatever the file calls its end: the ones that llama.cpp knows and byte pairs are found with.
_ENDS = (
    *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
    *("<|fim_pad|>", "<fim_pad>", "<|repo_name|>", "<reponame>", "<|file_sep|>"),
)
_SIZES = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}  # numbers of a block, and its bytes
_MISREAD = ("gpt-oss",)  # transformers leaves out its experts and takes its positions for stretched ones

# Shown on a terminal alone: a log is no place for a bar.
setattr(modeling_gguf_pytorch_utils, "tqdm", partial(tqdm, disable=None, leave=False))  # noqa: B010
# transformers makes the same long table anew for each of a network's hundreds of modules.
setattr(gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map))  # noqa: B010


def load_config(file: GgufFile) -> PretrainedConfig:
    """The model's configuration. SetupError for an architecture that transformers can't read, or not rightly."""
    _check_whole(file)
    stretched = file.text(f"{file.architecture}.rope.scaling.type") or "none"
    if stretched != "none" or any(name.startswith("rope_f") for name in file.tensors):
        raise SetupError(f"{file.path}: transformers would leave out how its positions are scaled; {_IN_LLAMA_CPP}")
    unreadable = SetupError(
        f"{file.path}: transformers can't read GGUF files of the architecture {file.architecture!r}; {_IN_LLAMA_CPP}"
    )
    if file.architecture in _MISREAD:
        raise unreadable
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(file.path.parent, gguf_file=file.path.name)
    except Exception as error:  # broken files surface as whatever their reader raises
        if "is not supported" in str(error):
            raise unreadable from None
        raise SetupError(f"{file.path}: can't be read: {first_line(error)}") from None
    config.persona_world = file.text("persona.world")
    return config


def load_tokenizer(file: GgufFile) -> PreTrainedTokenizerFast:
    """The file's own tokenizer, which makes of a text what llama.cpp does. SetupError for a kind of which that is not
    known, and for a file without a chat template."""
    template = file.text("tokenizer.chat_template")
    if template is None:
        raise SetupError(f"{file.path}: the file has no chat template; only chat models can be served")
    kind = file.text("tokenizer.ggml.model")
    cutting = word_cutting(file.text("tokenizer.ggml.pre") or "default")
    if kind != "gpt2" or cutting.patterns is None:
        what = f"tokenizer {kind!r}" if kind != "gpt2" else f"way to cut words, {cutting.name!r},"
        raise SetupError(f"{file.path}: its {what} is known to llama.cpp alone; {_IN_LLAMA_CPP}")
    texts = file.texts("tokenizer.ggml.tokens")
    kinds = dict(enumerate(file.numbers("tokenizer.ggml.token_type")))
    added = {
        text: kinds.get(id_) != _USER_DEFINED or MARKER.fullmatch(text) is not None
        for id_, text in enumerate(texts)
        if kinds.get(id_) in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    }
    try:
        merged = byte_pair_tokenizer(file, texts, added, cutting)
    except ValueError as error:
        raise SetupError(f"{file.path}: its tokenizer can't be used: {error}; {_IN_LLAMA_CPP}") from None
    if any(merged.token_to_id(text) != id_ for id_, text in enumerate(texts) if text in added):
        raise SetupError(f"{file.path}: two of its special tokens are written alike; {_IN_LLAMA_CPP}")
    named = {name: file.number(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "padding")}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=merged,
        clean_up_tokenization_spaces=False,
        **{
            f"{'pad' if name == 'padding' else name}_token": texts[id_]
            for name, id_ in named.items()
            if id_ is not None and id_ < len(texts)
        },
    )
    tokenizer.chat_template = template
    return tokenizer


def load_network(
    file: GgufFile,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device,
    dtype: torch.dtype,
) -> PreTrainedModel:
    """The weights on their device, in `dtype`; which tokens end an answer is the tokenizer's to say.

    One model at a time: loading sets the process's default dtype meanwhile.
    """
    _check_memory(file, device, dtype)
    if not sys.stderr.isatty():
        disable_progress_bar()
    with one_at_a_time, _in_one_line(file, device):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            file.path.parent,
            gguf_file=file.path.name,
            config=config,
            dtype=dtype,
            device_map={"": device},
            output_loading_info=True,
        )
    network: PreTrainedModel = loaded[0]
    if missing := sorted(loaded[1]["missing_keys"]):
        raise SetupError(f"{file.path}: its weights lack {len(missing)} tensors, {missing[0]} among them")
    if network.config._attn_implementation not in ("sdpa", "eager"):
        network.set_attn_implementation("eager")
    special = tokenizer.get_added_vocab()
    ends = {special[text] for text in _ENDS if text in special} | {tokenizer.eos_token_id}
    assert network.generation_config is not None
    network.generation_config.eos_token_id = sorted(ends - {None})
    return network


def _check_whole(file: GgufFile) -> None:
    """SetupError for a file that was cut off."""
    for name, tensor in file.tensors.items():
        block, size = _SIZES.get(tensor.kind, (1, 0))
        if file.header_bytes + tensor.offset + tensor.count // block * size > file.path.stat().st_size:
            raise SetupError(f"{file.path}: is cut off: it ends before its weights do, {name} among them")


def _check_memory(file: GgufFile, device: torch.device, dtype: torch.dtype) -> None:
    """SetupError for weights that would not fit into the machine's memory unless they stay quantised."""
    if not hasattr(os, "sysconf"):
        return
    needed = sum(tensor.count for tensor in file.tensors.values()) * dtype.itemsize
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device.type == "cpu" and needed > there:
        raise SetupError(
            f"{file.path}: needs {needed / 2**30:.1f} GiB of memory in transformers, which keeps no quantised weights; "
            f"this machine has {there / 2**30:.1f} GiB; {_IN_LLAMA_CPP}"
        )


@contextmanager
def _in_one_line(file: GgufFile, device: torch.device) -> Iterator[None]:
    """Turn what goes wrong with weights into a SetupError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise SetupError(f"{file.path}: does not fit into the memory of {device}") from None
    except Exception as error:  # broken files surface as whatever their reader raises
        raise SetupError(f"{file.path}: its weights can't be loaded: {first_line(error)}") from None
