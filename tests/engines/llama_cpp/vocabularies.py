"""Vocabularies of each way to cut words, as files, and runs of characters that are hard to cut.

Imports little, since processes are started that need it.
"""

import json
from functools import cache
from pathlib import Path
from random import Random

import gguf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from proxy.engines.llama_cpp.model import LlamaModel
from proxy.engines.llama_cpp.vocabulary import Vocabulary

UNKNOWN = ["default", "falcon", "bloom", "exaone-moe", "seed-coder"]
MARKERS = {"<|end|>": gguf.TokenType.CONTROL, "<|call|>": gguf.TokenType.USER_DEFINED}
CHARACTERS = "aBcD1 2\n\r\t-'s/é中\u0301ʰǅ.!😀\u00a0\u3000一ぬ("
RUNS = ["-", "a", " ", "\n", "中", "aA", "1", "\u0301", "a-", "a b ", "'s", "\r\n", "😀"]


@cache
def learnt() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges that reach across every kind of characters, so that each cut between words shows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, max_token_length=6
    )
    random = Random(7)
    tokenizer.train_from_iterator(("".join(random.choices(CHARACTERS, k=30)) for _ in range(2000)), trainer)
    state = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].__getitem__)
    return tokens, [(left, right) for left, right in state["merges"]]


def vocabulary(folder: Path, pre_tokenizer: str) -> Vocabulary:
    """A file's that cuts words so."""
    file = folder / f"{pre_tokenizer}.gguf"
    if not file.exists():
        tokens, merges = learnt()
        writer = gguf.GGUFWriter(file, "llama")
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_tokenizer)
        writer.add_token_list([*tokens, *MARKERS])
        writer.add_token_types([*[gguf.TokenType.NORMAL] * len(tokens), *MARKERS.values()])
        writer.add_token_merges([" ".join(pair) for pair in merges])
        writer.add_eos_token_id(len(tokens))
        writer.add_chat_template("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
    return Vocabulary(LlamaModel(file, vocabulary_only=True))
