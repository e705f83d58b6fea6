"""What is done with the fields of OpenAI's, and of servers like this one, that an endpoint has no place for. Pure.

A field that would change the answer is refused: leaving it out would be answering something else in silence. The
others are ignored, and so are unknown ones, as OpenAI's clients rely on. The manual has the tables that this holds.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from proxy.errors import InvalidRequest
from proxy.protocol.chat import ChatRequest
from proxy.protocol.completions import CompletionRequest
from proxy.protocol.responses import ResponseRequest

Use = Literal["honoured", "ignored", "refused"]


class Field(NamedTuple):
    """`possible`: what to do instead, in words. `harmless`: the values, besides null, that change nothing."""

    possible: str
    harmless: tuple[Any, ...] = ()


_JSON = "response_format with json_schema"
_CHAT = "/v1/chat/completions"
_OFF = (0, 0.0, False)
_ON = (1, 1.0, True)

# What says nothing of the answer
IGNORED = (
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
)
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
    "suffix": Field("messages", ("",)),
    "prompt_logprobs": Field("echo and logprobs of /v1/completions"),
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


_CHATS_OWN = {
    "suffix": Field("a prompt with the text before and after, in the model's own form", ("",)),
    "messages": Field(_CHAT, ([],)),
    "tools": Field(_CHAT, ([],)),
    "tool_choice": Field(_CHAT, ("none", "auto")),
    "functions": Field(_CHAT, ([],)),
    "function_call": Field(_CHAT, ("none", "auto")),
    "response_format": Field(_CHAT, ({"type": "text"},)),
    "reasoning_effort": Field(_CHAT, ("none",)),
    "chat_template_kwargs": Field(_CHAT, ({},)),
    "continue_final_message": Field("a prompt that ends in the middle", (False,)),
    "max_completion_tokens": Field("max_tokens"),
    "top_logprobs": Field("logprobs with a number", (0,)),
    "prompt_logprobs": Field("echo with logprobs"),
    "add_special_tokens": Field("true; or a list of token ids", _ON),
}


def _in_chats(field: Field) -> Field:
    """What is possible instead is a chat's."""
    if not re.search("response_format|message", field.possible):
        return field
    return field._replace(possible=f"{_CHAT}, with {field.possible}")


# Of /v1/completions: a chat's, and what it has itself.
UNSUPPORTED_IN_COMPLETIONS: dict[str, Field] = {
    name: _in_chats(field) for name, field in UNSUPPORTED.items() if name not in ("prompt", "echo", "best_of")
} | _CHATS_OWN


class Endpoint(NamedTuple):
    """`ignored` are those that this endpoint alone has."""

    request: type[msgspec.Struct]
    unsupported: Mapping[str, Field]
    ignored: tuple[str, ...] = ()


_IGNORED_IN_RESPONSES = ("access_programs", "background_options", "context_management", "image", "stream_options")
ENDPOINTS = {
    _CHAT: Endpoint(ChatRequest, UNSUPPORTED),
    "/v1/responses": Endpoint(ResponseRequest, UNSUPPORTED_IN_RESPONSES, _IGNORED_IN_RESPONSES),
    "/v1/completions": Endpoint(CompletionRequest, UNSUPPORTED_IN_COMPLETIONS),
}


def uses(endpoint: Endpoint) -> dict[str, Use]:
    """What is done with each field that is known of such requests."""
    own = (field.encode_name for field in msgspec.structs.fields(endpoint.request))
    found: dict[str, Use] = dict.fromkeys(endpoint.unsupported, "refused")
    return {**found, **dict.fromkeys(own, "honoured"), **dict.fromkeys((*IGNORED, *endpoint.ignored), "ignored")}


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
