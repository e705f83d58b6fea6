"""Random models small enough to make in a test, one per family, with a tokenizer of single bytes and chat markers."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

WINDOW = 6
SHAPE = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=2048,
)
FAMILIES: dict[str, Callable[..., PretrainedConfig]] = {
    "qwen2": Qwen2Config,
    "qwen2-sliding": lambda **shape: Qwen2Config(
        use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2, **shape
    ),
    "qwen3": Qwen3Config,
    "llama": LlamaConfig,
    "mistral": lambda **shape: MistralConfig(sliding_window=WINDOW, **shape),
    "gemma": GemmaConfig,
    "gemma3": lambda **shape: Gemma3TextConfig(sliding_window=WINDOW, **shape),
    "gpt-oss": lambda **shape: GptOssConfig(
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"] * 2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        **shape,
    ),
}
CHAT_MARKERS = ["<|im_start|>", "<|im_end|>"]
HARMONY_MARKERS = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + m.role) }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
HARMONY_TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant"
)


THINKING_TEMPLATE = CHAT_TEMPLATE + (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)


def byte_tokenizer(harmony: bool, thinking: bool = False) -> PreTrainedTokenizerFast:
    """One token a byte, so that any character outside ASCII takes several. With `thinking` it has tags as Qwen3's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    markers = HARMONY_MARKERS if harmony else CHAT_MARKERS
    tokenizer.add_special_tokens(markers)
    if thinking:
        tokenizer.add_tokens(["<think>", "</think>"])
    template = THINKING_TEMPLATE if thinking else CHAT_TEMPLATE
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|return|>" if harmony else "<|im_end|>",
        chat_template=HARMONY_TEMPLATE if harmony else template,
    )


@cache
def save_tiny_model(family: str, folder: Path, thinking: bool = False) -> Path:
    """A model of the family with weights large enough for answers to vary, saved to `folder`."""
    tokenizer = byte_tokenizer(family == "gpt-oss", thinking)
    state = torch.get_rng_state()
    torch.manual_seed(7)
    config = FAMILIES[family](**SHAPE, vocab_size=len(tokenizer), tie_word_embeddings=False)
    config.eos_token_id = tokenizer.eos_token_id
    config.bos_token_id = config.pad_token_id = None
    config.initializer_range = 0.2
    model = AutoModelForCausalLM.from_config(config).float()
    torch.set_rng_state(state)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
