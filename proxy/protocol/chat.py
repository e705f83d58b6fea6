"""POST /v1/chat/completions: OpenAI's request, response and stream chunks, with what this server adds.

Fields that are not listed here are ignored, as OpenAI's clients rely on; but for those of proxy/chat/unsupported.py,
which are refused when set, because leaving them out would change the answer.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.protocol.steering import Coefficient, SteeringOptions, SteeringReport, SteeringTrace

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
FinishReason = Literal["stop", "length", "tool_calls", "function_call"]
FunctionName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
StopString = Annotated[str, Meta(min_length=1)]
TokenCount = Annotated[int, Meta(ge=1, le=2**31 - 1)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
TopK = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Meta(ge=0.01, le=100)]
LogitBias = dict[TokenId, Annotated[float, Meta(ge=-100, le=100)]]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Stop = StopString | Annotated[list[StopString], Meta(max_length=4)]


class ContentPart(msgspec.Struct):
    """A piece of a message; only `type` "text" is understood."""

    type: str
    text: str | None = None


class CalledFunction(msgspec.Struct):
    """`arguments` is JSON text, as the model wrote it."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class ChatMessage(msgspec.Struct):
    """`tool_calls` are an assistant's; a `tool` message answers the one that `tool_call_id` names. `function_call`, and
    the role `function` with a `name`, are OpenAI's older form of a call and of its result. `reasoning_content`,
    or `reasoning`, is the assistant's: templates that know of it show it to the model, and
    `continue_final_message` goes on with it."""

    role: Role
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Function(msgspec.Struct):
    """A function the model may call; `parameters` is a JSON schema that arguments follow. Keywords that
    can't be enforced are an error with `strict`; without, such a function takes any object."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolOffer(msgspec.Struct):
    type: Literal["function"]
    function: Function


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class JsonSchema(msgspec.Struct):
    """`strict` is ignored: every answer follows the schema."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """`json_schema` is for the type of that name, or in its place `schema`, as llama.cpp has it; `schema` also for
    json_object."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class RequestMetadata(msgspec.Struct):
    """OpenAI's free-form `metadata`, of which only this is read. The rest is not even decoded."""

    persona: str | None = None


class ChatRequest(msgspec.Struct):
    """`model` may be `model:persona` or `model:persona@coefficient`. A field that is null counts as left out.
    `include_schema_in_prompt` false has the schema of `response_format` not be told to the model."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    logit_bias: LogitBias | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    user: str | None = None
    metadata: RequestMetadata | None = None
    reasoning_effort: ReasoningEffort | None = None
    chat_template_kwargs: dict[str, bool | int | float | str | None] | None = None
    tools: list[ToolOffer] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: Any = None
    response_format: ResponseFormat | None = None
    include_schema_in_prompt: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    # What this server adds
    persona: str | dict[str, Coefficient] | None = None
    coefficient: Coefficient | None = None
    steering: SteeringOptions | None = None


class PromptDetails(msgspec.Struct):
    """`cached_tokens` had been read before, for another request."""

    cached_tokens: int = 0


class CompletionDetails(msgspec.Struct):
    """Of the completion, those of the model's reasoning."""

    reasoning_tokens: int = 0


class Usage(msgspec.Struct):
    """In tokens; reasoning counts as completion. A prompt of several answers counts once, as the first one found it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class AssistantMessage(msgspec.Struct):
    """`content` is null where the model called functions and said nothing. `reasoning_content` and `reasoning` are the
    same text under the two names clients look for."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(msgspec.Struct):
    """Of one token of the content, in the model's own distribution: the log-softmax of its logits at temperature 1,
    before penalties, bias, filters and response_format, steered as the answer is. `bytes` are UTF-8; where they are
    only part of a character, `token` has them as `\\x..`. The bytes of all tokens are those of the content, but for
    the end of the last where a stop string cut it off, and the space that some tokenizers put before the first word.
    `top_logprobs`: the likeliest tokens, best first; no special ones.
    """

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct):
    content: list[TokenLogprob]
    refusal: None = None


class Choice(msgspec.Struct):
    index: int
    message: AssistantMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None


class ChatCompletion(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
    steering: SteeringReport


class FunctionDelta(msgspec.Struct):
    arguments: str
    name: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct):
    """What a chunk adds to one call of its choice; the first of a call carries id, type and name."""

    index: int
    function: FunctionDelta
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class Delta(msgspec.Struct):
    """What a chunk adds to its choice; the first of a choice carries the role and nothing else."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: None | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionDelta | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: Logprobs | None = None


class ChatChunk(msgspec.Struct, kw_only=True):
    """`usage` is absent unless asked for with `include_usage`; then it is null on all chunks but the last. `steering`
    is the report in the chunk that ends a choice, and a trace in others where one was asked for."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    usage: Usage | None | UnsetType = UNSET
    steering: SteeringReport | SteeringTrace | UnsetType = UNSET
