"""A generation as the request that another OpenAI-compatible server gets. Pure.

Every request streams, whatever our client asked for, and asks for the count of tokens. What OpenAI's API has no field
for goes by vLLM's names, which others have taken over; servers that spell it otherwise are known by what their list of
models says of who made it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.engines.base import NO_LIMIT, CallRules, Generation, Message, Sampling, Talk
from proxy.engines.errors import Refusal
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.orders import PLAN, RAW, READ

LLAMA_CPP, OURS = "llamacpp", "persona-proxy"  # who made a model's server, in its list of models
_OPENAI = ("openai", "openai-internal", "system")
_SENT = ("role", "content", "tool_call_id", "reasoning_content")
_ANY_OBJECT = {"type": "object"}


def path_of(talk: Talk) -> str:
    """The endpoint, below the base URL."""
    return "/chat/completions" if talk.raw is None else "/completions"


def body_of(name: str, generation: Generation, maker: str) -> dict[str, Any]:
    """The request for one answer of the model `name`, but for its plan, to a server made by `maker`, "" where that is
    unknown. Refusal for what that one is known to have no place for."""
    talk, sampling = generation.talk, generation.sampling
    assert talk is not None
    body: dict[str, Any] = {"model": name, "stream": True, "stream_options": {"include_usage": True}}
    if talk.raw is None:
        body |= _conversation(talk, maker) | _calling(generation.calls, talk) | _schema(sampling.json_schema, maker)
        if sampling.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    else:
        body["prompt"] = talk.raw if isinstance(talk.raw, str) else list(talk.raw)
        if sampling.top_logprobs is not None:
            body["logprobs"] = sampling.top_logprobs
    if talk.stops:
        body["stop"] = list(talk.stops)
    return body | _drawing(sampling, maker)


def steering_of(directive: Directive, read_as: str, *, raw: bool) -> dict[str, Any]:
    """What the request says of a plan: its id, which the server was told before, and what keeps its prompts apart:
    vLLM's own plugin sees to that, but whatever stands between may choose a server by it. `read_as` names what is read
    of the answer."""
    if directive.empty:
        return {}
    told: dict[str, Any] = {PLAN: directive.id}
    if directive.probes:
        told[READ] = read_as
    if raw:
        told[RAW] = 1
    salted = {} if directive.salt is None else {"cache_salt": directive.salt}
    return {"vllm_xargs": told, **salted}


def _drawing(sampling: Sampling, maker: str) -> dict[str, Any]:
    """How tokens are drawn. Temperature and top_p are told in any case: what a server has as its own default is not
    what our report says."""
    drawn: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.max_tokens != NO_LIMIT:
        drawn["max_completion_tokens" if maker in _OPENAI else "max_tokens"] = sampling.max_tokens
    penalty = "repeat_penalty" if maker == LLAMA_CPP else "repetition_penalty"
    for field, value, off in (
        ("top_k", sampling.top_k, 0),
        ("min_p", sampling.min_p, 0.0),
        ("frequency_penalty", sampling.frequency_penalty, 0.0),
        ("presence_penalty", sampling.presence_penalty, 0.0),
        (penalty, sampling.repetition_penalty, 1.0),
        ("seed", sampling.seed, None),
    ):
        if value != off:
            drawn[field] = value
    if sampling.logit_bias:
        drawn["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return drawn


def _conversation(talk: Talk, maker: str) -> dict[str, Any]:
    said: dict[str, Any] = {"messages": [_message(message) for message in talk.messages], **_options(talk.options)}
    if not (talk.content or talk.reasoning):
        return said
    if maker == LLAMA_CPP:
        raise Refusal("the server that this model runs on can't go on with an answer", "begun")
    begun = {"role": "assistant", "content": talk.content}
    if talk.reasoning:
        begun["reasoning_content"] = talk.reasoning
    said["messages"].append(begun)
    return {**said, "continue_final_message": True, "add_generation_prompt": False}


def _message(message: Message) -> Message:
    kept: Message = {name: value for name, value in message.items() if name in _SENT}
    if calls := message.get("tool_calls"):
        kept["tool_calls"] = [_call(call) for call in calls]
        kept["content"] = message["content"] or None
    return kept


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": call["id"], "type": "function", "function": {"name": function["name"], "arguments": text}}


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What chat templates get to see, in OpenAI's field where it has one. That the model is to think goes without
    saying where an effort is asked for."""
    effort, kwargs = options.get("reasoning_effort"), {**options}
    kwargs.pop("reasoning_effort", None)
    if effort is None:
        return {"chat_template_kwargs": kwargs} if kwargs else {}
    if kwargs.get("enable_thinking") is True:
        del kwargs["enable_thinking"]
    told = {"reasoning_effort": "none" if kwargs.get("enable_thinking") is False else effort}
    return {**told, "chat_template_kwargs": kwargs} if kwargs else told


def _calling(rules: CallRules | None, talk: Talk) -> dict[str, Any]:
    if rules is None:
        return {}
    strict = {function.name for function in rules.functions if function.strict}
    tools = [
        {**tool, "function": {**tool["function"], "strict": True}} if tool["function"]["name"] in strict else tool
        for tool in talk.tools
    ]
    return {"tools": tools, "tool_choice": _choice(rules), "parallel_tool_calls": rules.several}


def _choice(rules: CallRules) -> Any:
    if not rules.needed:
        return "auto"
    names: Sequence[str] = [function.name for function in rules.functions]
    return {"type": "function", "function": {"name": names[0]}} if len(names) == 1 else "required"


def _schema(schema: str | None, maker: str) -> dict[str, Any]:
    """The model was told of it in its messages, where it is to know."""
    if schema is None:
        return {}
    read = json.loads(schema)
    if read == _ANY_OBJECT:
        return {"response_format": {"type": "json_object"}}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": read, "strict": True}}
    return {"response_format": form, **({"include_schema_in_prompt": False} if maker == OURS else {})}
