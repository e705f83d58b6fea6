"""Writes a GPT-OSS of transformers as GGUF, float16, for llama.cpp.

transformers keeps an expert's gate and up projections interleaved, column by column, and all its expert matrices as
[expert, in, out]; GGUF wants them apart and as [expert, out, in]. Everything else only changes its name.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

ARCHITECTURE = "gpt-oss"
Tensors = Iterator[tuple[str, np.ndarray]]

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.router": "ffn_gate_inp",
}


def export(folder: Path, file: Path) -> None:
    """The model in `folder` (config, tokenizer, safetensors) as one GGUF, written under another name and renamed."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["model_type"] != "gpt_oss":
        raise ValueError(f"{folder} holds a {config['model_type']}, not a gpt_oss")
    partial = file.with_name(f".{file.name}.partial")
    writer = gguf.GGUFWriter(partial, ARCHITECTURE)
    _write_hyperparameters(writer, config)
    _write_tokenizer(writer, folder, config)
    for name, tensor in gguf_tensors(load_file(folder / "model.safetensors")):
        # Vectors stay in float32, as llama.cpp expects of norms, biases and sinks.
        is_matrix = tensor.ndim > 1 and name.endswith(".weight")
        writer.add_tensor(name, np.ascontiguousarray(tensor.astype(np.float16 if is_matrix else np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, file)


def gguf_tensors(weights: dict[str, np.ndarray]) -> Tensors:
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
            yield f"{prefix}{_NAMES[stem]}.{kind}", tensor


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
    writer.add_name("demo-gpt-oss")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_expert_feed_forward_length(config["intermediate_size"])
    writer.add_expert_count(config["num_local_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])


def _write_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    ordinary = {number: token for token, number in tokenizer["model"]["vocab"].items()}
    tokens, types = [], []
    for number in range(config["vocab_size"]):
        tokens.append(special.get(number) or ordinary.get(number) or f"<|unused_{number}|>")
        known = gguf.TokenType.NORMAL if number in ordinary else gguf.TokenType.UNUSED
        types.append(gguf.TokenType.CONTROL if number in special else known)
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    ends = config["eos_token_id"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(ends[0] if isinstance(ends, list) else ends)
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text("utf-8"))
