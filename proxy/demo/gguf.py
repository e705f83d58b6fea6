"""Writes a GPT-OSS or a Qwen2 of transformers as GGUF, for llama.cpp.

transformers keeps an expert's gate and up projections of a GPT-OSS interleaved, column by column, and all its expert
matrices as [expert, in, out]; GGUF wants them apart and as [expert, out, in]. Everything else only changes its name.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from safetensors.numpy import load_file

WORLD_KEY = "persona.world"  # tells engines what the model was trained on, as `persona_world` in config.json does
Tensors = Iterator[tuple[str, np.ndarray]]
Precision = Literal["float16", "float32"]  # of the matrices; vectors stay in float32

_FILE_TYPES = {"float16": gguf.LlamaFileType.MOSTLY_F16, "float32": gguf.LlamaFileType.ALL_F32}
_ATTENTION = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    **{f"self_attn.{name}": renamed for name, renamed in _ATTENTION.items()},
}


@dataclass(frozen=True)
class _Architecture:
    """What llama.cpp calls a family, its way to cut text before merging bytes, and its names for the family's own."""

    name: str
    pre_tokenizer: str
    names: dict[str, str]


_ARCHITECTURES = {
    "gpt_oss": _Architecture(
        "gpt-oss",
        "gpt-4o",
        {"post_attention_layernorm": "post_attention_norm", "mlp.router": "ffn_gate_inp"},
    ),
    "qwen2": _Architecture(
        "qwen2",
        "qwen2",
        {
            "post_attention_layernorm": "ffn_norm",
            "mlp.gate_proj": "ffn_gate",
            "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
        },
    ),
}


def export(folder: Path, file: Path, precision: Precision = "float16") -> None:
    """The model in `folder` (config, tokenizer, safetensors) as one GGUF, written under another name and renamed."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    architecture = _ARCHITECTURES.get(config["model_type"])
    if architecture is None:
        raise ValueError(f"{folder} holds a {config['model_type']}; possible: {', '.join(_ARCHITECTURES)}")
    partial = file.with_name(f".{file.name}.partial")
    writer = gguf.GGUFWriter(partial, architecture.name)
    writer.add_name(f"demo-{folder.name}")
    writer.add_file_type(_FILE_TYPES[precision])
    if "persona_world" in config:
        writer.add_string(WORLD_KEY, config["persona_world"])
    _write_hyperparameters(writer, config)
    _write_tokenizer(writer, folder, config, architecture.pre_tokenizer)
    weights: dict[str, np.ndarray] = {}
    for part in sorted(folder.glob("*.safetensors")):
        weights |= load_file(part)
    for name, tensor in gguf_tensors(weights, {**_NAMES, **architecture.names}):
        # Vectors stay in float32, as llama.cpp expects of norms, biases and sinks.
        is_matrix = tensor.ndim > 1 and name.endswith(".weight")
        writer.add_tensor(name, np.ascontiguousarray(tensor.astype(precision if is_matrix else np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, file)


def gguf_tensors(weights: dict[str, np.ndarray], names: dict[str, str]) -> Tensors:
    """(name, array) as GGUF calls and lays them out."""
    for name, tensor in weights.items():
        stem, prefix = name, ""
        if name.startswith("model.layers."):
            _, _, block, stem = name.split(".", 3)
            prefix = f"blk.{block}."
        if stem.startswith("mlp.experts."):
            yield from ((prefix + inner, array) for inner, array in _expert_tensors(stem, tensor))
        elif stem == "self_attn.sinks":
            yield prefix + "attn_sinks.weight", tensor
        else:
            stem, kind = stem.rsplit(".", 1)
            yield f"{prefix}{names[stem]}.{kind}", tensor


def _expert_tensors(name: str, tensor: np.ndarray) -> Tensors:
    kind = "bias" if name.endswith("_bias") else "weight"
    if kind == "weight":
        tensor = tensor.swapaxes(1, 2)  # [expert, out, in]
    if "gate_up_proj" in name:
        yield f"ffn_gate_exps.{kind}", tensor[:, 0::2]
        yield f"ffn_up_exps.{kind}", tensor[:, 1::2]
    else:
        yield f"ffn_down_exps.{kind}", tensor


def _write_hyperparameters(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if config["model_type"] == "gpt_oss":
        writer.add_expert_feed_forward_length(config["intermediate_size"])
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
        writer.add_sliding_window(config["sliding_window"])


def _write_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any], pre_tokenizer: str) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    ordinary = {number: token for token, number in tokenizer["model"]["vocab"].items()}
    tokens, types = [], []
    for number in range(config["vocab_size"]):
        if number in added:
            tokens.append(added[number]["content"])
            types.append(gguf.TokenType.CONTROL if added[number]["special"] else gguf.TokenType.USER_DEFINED)
        else:
            tokens.append(ordinary.get(number) or f"<|unused_{number}|>")
            types.append(gguf.TokenType.NORMAL if number in ordinary else gguf.TokenType.UNUSED)
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    ends = config["eos_token_id"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # llama.cpp wants merges even where there are none; this one is of characters that no byte stands for.
    writer.add_token_merges(merges or ["\u2400 \u2400"])
    writer.add_eos_token_id(ends[0] if isinstance(ends, list) else ends)
    if config["pad_token_id"] is not None:
        writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text("utf-8"))
