"""Fields of OpenAI's, and of servers like this one, that would change the answer and can't be honoured here. Pure.

Unknown fields are ignored, as OpenAI's clients rely on; these are known, so leaving them out would be answering
something else in silence. The manual's list of them is written from this table.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from proxy.errors import InvalidRequest


class Field(NamedTuple):
    """`possible`: what to do instead, in words. `harmless`: the values, besides null, that change nothing."""

    possible: str
    harmless: tuple[Any, ...] = ()


_JSON = "response_format with json_schema"
_OFF = (0, 0.0, False)
_ON = (1, 1.0, True)

UNSUPPORTED: dict[str, Field] = {
    # OpenAI's
    "modalities": Field('["text"]', ([], ["text"])),
    "audio": Field("no audio", ({},)),
    "moderation": Field("no moderation", ({}, False)),
    "verbosity": Field('"medium"', ("medium",)),
    "web_search_options": Field("no search"),
    # What the answer must look like
    "json_schema": Field(_JSON, ({},)),
    "guided_json": Field(_JSON, ({}, "")),
    "guided_choice": Field(f"{_JSON} and an enum", ([],)),
    "guided_regex": Field(f"{_JSON} and a pattern", ("",)),
    "guided_grammar": Field(_JSON, ("",)),
    "structured_outputs": Field(_JSON, ({},)),
    "structural_tag": Field(_JSON, ("", {})),
    "format": Field(_JSON, ("",)),
    "grammar": Field(_JSON, ("",)),
    "ebnf": Field(_JSON, ("",)),
    "regex": Field(f"{_JSON} and a pattern", ("",)),
    # Where it ends, and what is left out of it
    "min_tokens": Field("0", _OFF),
    "min_new_tokens": Field("0", _OFF),
    "max_new_tokens": Field("max_tokens"),
    "max_output_tokens": Field("max_tokens"),
    "n_predict": Field("max_tokens", (-1,)),
    "num_predict": Field("max_tokens", (-1,)),
    "ignore_eos": Field("false", _OFF),
    "stop_token_ids": Field("stop", ([],)),
    "stop_sequences": Field("stop", ([],)),
    "stop_regex": Field("stop", ([], "")),
    "include_stop_str_in_output": Field("false", _OFF),
    "no_stop_trim": Field("false", _OFF),
    "skip_special_tokens": Field("true", _ON),
    "echo": Field("false", _OFF),
    # How tokens are drawn
    "allowed_token_ids": Field("logit_bias", ([],)),
    "bad_words": Field("logit_bias", ([],)),
    "logits_processors": Field("none", ([],)),
    "custom_logit_processor": Field("none", ("",)),
    "repeat_penalty": Field("repetition_penalty", _ON),
    "no_repeat_ngram_size": Field("repetition_penalty", _OFF),
    "do_sample": Field("temperature 0 for false", _ON),
    "best_of": Field("1", _ON),
    "num_beams": Field("1", _ON),
    "use_beam_search": Field("false", _OFF),
    "length_penalty": Field("1", _ON),
    "early_stopping": Field("false", _OFF),
    "typical_p": Field("top_p or min_p", _ON),
    "tfs_z": Field("top_p or min_p", _ON),
    "top_a": Field("top_p or min_p", _OFF),
    "epsilon_cutoff": Field("min_p", _OFF),
    "eta_cutoff": Field("min_p", _OFF),
    "top_n_sigma": Field("min_p", (*_OFF, -1)),
    "mirostat": Field("0", _OFF),
    "mirostat_mode": Field("0", _OFF),
    "xtc_probability": Field("0", _OFF),
    "dry_multiplier": Field("0", _OFF),
    "dynatemp_range": Field("0", _OFF),
    "guidance_scale": Field("1", _ON),
    "penalty_alpha": Field("0", _OFF),
    # What the model is given
    "system": Field("a message whose role is system", ("",)),
    "system_prompt": Field("a message whose role is system", ("",)),
    "instructions": Field("a message whose role is system", ("",)),
    "prompt": Field("messages", ("",)),
    "input": Field("messages", ("", [])),
    "options": Field("its fields beside model", ({},)),
    "chat_template": Field("the model's own template", ("",)),
    "documents": Field("messages", ([],)),
    "truncate_prompt_tokens": Field("a prompt that fits"),
    "plugins": Field("none", ([],)),
    "lora": Field("a model of its own", ([],)),
    "lora_path": Field("a model of its own", ("",)),
}


_WHOLE = "input with the whole conversation, since nothing is stored"
_ITS_OWN = {  # what a chat calls otherwise
    "messages": Field("input"),
    "max_tokens": Field("max_output_tokens"),
    "max_completion_tokens": Field("max_output_tokens"),
    "response_format": Field("text.format", ({"type": "text"},)),
    "reasoning_effort": Field("reasoning.effort"),
    "verbosity": Field("text.verbosity"),
    "logprobs": Field("message.output_text.logprobs in include", (False,)),
    "functions": Field("tools", ([],)),
    "function_call": Field("tool_choice"),
    "n": Field("1", _ON),
    "previous_response_id": Field(_WHOLE),
    "conversation": Field(_WHOLE),
    "background": Field("false", (False,)),
    "prompt": Field("input and instructions"),
}
_RESPONSES_WORDS = {
    _JSON: "text.format with json_schema",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "a message whose role is system": "instructions",
}


def _in_responses(field: Field) -> Field:
    possible = field.possible
    for chats, responses in _RESPONSES_WORDS.items():
        possible = possible.replace(chats, responses)
    return Field(possible, field.harmless)


# Of /v1/responses: a chat's, and its own.
UNSUPPORTED_IN_RESPONSES: dict[str, Field] = {
    name: _in_responses(field)
    for name, field in UNSUPPORTED.items()
    if name not in ("max_output_tokens", "input", "instructions")
} | _ITS_OWN


def refuse_unsupported(given: Mapping[str, msgspec.Raw], table: Mapping[str, Field]) -> None:
    """InvalidRequest for a body's field, by its name, that is asked for and can't be honoured."""
    for name in sorted(given.keys() & table.keys()):
        field = table[name]
        if not _harmless(given[name], field):
            raise InvalidRequest(f"{name} is not supported; possible: {field.possible}", param=name)


def _harmless(value: msgspec.Raw, field: Field) -> bool:
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return decoded is None or decoded in field.harmless
