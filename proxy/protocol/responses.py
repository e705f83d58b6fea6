"""POST /v1/responses: OpenAI's request and its response, with what this server adds. Nothing is stored.

Fields that are not listed here are ignored, as OpenAI's clients rely on; but for those of proxy/chat/unsupported.py,
which are refused when set, because leaving them out would change the answer.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.protocol.chat import (
    LogitBias,
    Penalty,
    ReasoningEffort,
    RepetitionPenalty,
    Seed,
    Share,
    Stop,
    Temperature,
    TokenCount,
    TokenLogprob,
    TopK,
)
from proxy.protocol.steering import Coefficient, SteeringOptions, SteeringReport

FormatName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Verbosity = Literal["low", "medium", "high"]
Summary = Literal["auto", "concise", "detailed"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
LOGPROBS = "message.output_text.logprobs"


class InputPart(msgspec.Struct):
    """A piece of an item; types whose text is in `text` are understood, and "refusal"."""

    type: str
    text: str | None = None
    refusal: str | None = None


class InputItem(msgspec.Struct):
    """A message with `role` and `content`, which needs no `type`; a "function_call" with `call_id`, `name` and
    `arguments` (JSON text), its "function_call_output" with `call_id` and `output`, or the "reasoning" before them.
    Items of an answer may come back as they are."""

    type: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[InputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[InputPart] | None = None
    summary: list[InputPart] | None = None


class OfferedTool(msgspec.Struct):
    """A function the model may call; `parameters` is a JSON schema that arguments follow. Tools of other types are
    skipped."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextFormat(msgspec.Struct, omit_defaults=True):
    """`schema` is for json_schema, with a `name`, and may stand beside json_object. `strict` is ignored: every answer
    follows the schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: FormatName | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct):
    """`verbosity` is accepted; no model here knows it."""

    format: TextFormat | None = None
    verbosity: Verbosity | None = None


class ReasoningOptions(msgspec.Struct):
    """`summary` is accepted; reasoning is told whole."""

    effort: ReasoningEffort | None = None
    summary: Summary | None = None


class ResponseRequest(msgspec.Struct):
    """`model` may be `model:persona` or `model:persona@coefficient`. A field that is null counts as left out.
    `store` is accepted, and nothing is stored. `include_schema_in_prompt` false has the schema of `text.format` not be
    told to the model."""

    input: str | list[InputItem] | None = None
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: TokenCount | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    tools: list[OfferedTool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    store: bool | None = None
    # What chat completions have, and OpenAI's responses have not
    top_k: TopK | None = None
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    logit_bias: LogitBias | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    chat_template_kwargs: dict[str, bool | int | float | str | None] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    include_schema_in_prompt: bool | None = None
    # What this server adds
    persona: str | dict[str, Coefficient] | None = None
    coefficient: Coefficient | None = None
    steering: SteeringOptions | None = None


class ReasoningText(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    text: str


class OutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    """`logprobs` are there where `include` names them. Nothing is ever annotated."""

    text: str
    logprobs: list[TokenLogprob] = msgspec.field(default_factory=list)
    annotations: list[None] = msgspec.field(default_factory=list)


class ReasoningItem(msgspec.Struct, tag_field="type", tag="reasoning"):
    """What the model thought, whole; there is no summary of it."""

    id: str
    content: list[ReasoningText]
    status: ItemStatus
    summary: list[None] = msgspec.field(default_factory=list)
    encrypted_content: None = None


class OutputMessage(msgspec.Struct, tag_field="type", tag="message"):
    id: str
    content: list[OutputText]
    status: ItemStatus
    role: Literal["assistant"] = "assistant"


class FunctionCallItem(msgspec.Struct, tag_field="type", tag="function_call"):
    """`call_id` is what the "function_call_output" names; `arguments` is JSON text."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


OutputItem = ReasoningItem | OutputMessage | FunctionCallItem


class InputDetails(msgspec.Struct):
    """`cached_tokens` had been read before, for another request. What is newly kept is not counted."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct):
    """Of the output, those of the model's reasoning."""

    reasoning_tokens: int


class ResponseUsage(msgspec.Struct):
    """In tokens; reasoning counts as output."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseError(msgspec.Struct):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class FunctionTool(msgspec.Struct, tag_field="type", tag="function"):
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool


class ResponseObject(msgspec.Struct, kw_only=True):
    """`temperature` and `top_p` are those the answer was drawn with. `tools` are those that count. Other fields of the
    request come back as they were. `steering` is the report, and absent as long as the answer grows."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
    background: Literal[False] = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: None = None
    prompt_cache_key: str | None
    reasoning: ReasoningOptions
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: Literal[False] = False
    temperature: float
    text: TextOptions
    tool_choice: Any
    tools: list[FunctionTool]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None
    steering: SteeringReport | UnsetType = UNSET
