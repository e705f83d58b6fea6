"""The items of a Responses request as a chat's messages. Knows nothing of HTTP or models."""

from collections.abc import Callable, Sequence

from proxy.errors import InvalidRequest
from proxy.protocol.chat import CalledFunction, ChatMessage, ToolCall
from proxy.protocol.responses import InputItem, InputPart

_TEXTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")


def to_messages(given: str | Sequence[InputItem], instructions: str | None) -> tuple[list[ChatMessage], dict[str, str]]:
    """What is said in a request's `input`, behind its `instructions`, and where it stands in the request, by the fields
    of a chat. An empty input is an empty message of the user's: some clients ask so whether a server is there.
    InvalidRequest names what can't be read."""
    if not given or isinstance(given, str):
        given = [InputItem(role="user", content=str(given or ""))]
    conversation = _Conversation(instructions)
    for number, item in enumerate(given):
        conversation.read(item, f"input[{number}]")
    conversation.instruct()
    return conversation.messages, conversation.names


class _Conversation:
    """A chat that grows by items: a call joins its assistant's message, and reasoning is of what comes next."""

    def __init__(self, instructions: str | None) -> None:
        self.messages: list[ChatMessage] = []
        self.names: dict[str, str] = {}
        self._instructions = [instructions] if instructions else []
        self._reasoning: list[str] = []
        self._readers: dict[str, Callable[[InputItem, str], None]] = {
            "message": self._message,
            "function_call": self._call,
            "function_call_output": self._output,
            "reasoning": self._thought,
        }

    def read(self, item: InputItem, field: str) -> None:
        """Add an item, which stands in `field`."""
        kind = item.type or ("item_reference" if item.role is None else "message")
        if kind == "item_reference":
            raise InvalidRequest(
                f"{field}: nothing is stored here that an item_reference could be to; possible: the item itself (AI "
                "SDK sends it with providerOptions: {openai: {store: false}})",
                param=field,
            )
        if kind not in self._readers:
            possible = ", ".join(self._readers)
            raise InvalidRequest(f"{field}.type: {kind!r} can't be read; possible: {possible}", param=f"{field}.type")
        self._readers[kind](item, field)

    def instruct(self) -> None:
        """Put in one message what instructions there are before anything is said: templates know of one system prompt,
        and some leave out what others say."""
        if self._instructions and not self.messages:
            self.messages.append(ChatMessage("system", "\n\n".join(self._instructions)))

    def _message(self, item: InputItem, field: str) -> None:
        if item.role is None:
            possible = "user, assistant, system, developer"
            raise InvalidRequest(f"{field}.role: it is required; possible: {possible}", param=f"{field}.role")
        text = _text(item.content, f"{field}.content")
        if item.role == "assistant":
            self._add(ChatMessage("assistant", text, reasoning_content=self._thoughts()))
        elif item.role != "user" and not self.messages:
            self._instructions.append(text)
        else:
            self._add(ChatMessage("user" if item.role == "user" else "system", text))

    def _call(self, item: InputItem, field: str) -> None:
        call_id, name = _needed(item.call_id, f"{field}.call_id"), _needed(item.name, f"{field}.name")
        call = ToolCall(call_id, CalledFunction(name, item.arguments or ""))
        if not self.messages or self.messages[-1].role != "assistant":
            self._add(ChatMessage("assistant", reasoning_content=self._thoughts()))
        message = self.messages[-1]
        calls = message.tool_calls = message.tool_calls or []
        calls.append(call)
        place = f"messages[{len(self.messages) - 1}].tool_calls[{len(calls) - 1}]"
        self.names[f"{place}.function.arguments"] = f"{field}.arguments"

    def _output(self, item: InputItem, field: str) -> None:
        call_id = _needed(item.call_id, f"{field}.call_id")
        self._add(ChatMessage("tool", _text(item.output, f"{field}.output"), tool_call_id=call_id))
        self.names[f"messages[{len(self.messages) - 1}].tool_call_id"] = f"{field}.call_id"

    def _thought(self, item: InputItem, field: str) -> None:
        content, summary = item.content or (), item.summary or ()
        text = _text(content or summary, f"{field}.{'content' if content else 'summary'}")
        self._reasoning += [text] if text else []

    def _add(self, message: ChatMessage) -> None:
        self.instruct()
        self.messages.append(message)
        self._reasoning = []

    def _thoughts(self) -> str | None:
        return "\n".join(self._reasoning) or None


def _needed(value: str | None, field: str) -> str:
    if value is None:
        raise InvalidRequest(f"{field}: it is required; possible: text", param=field)
    return value


def _text(content: str | Sequence[InputPart] | None, field: str) -> str:
    if content is None:
        raise InvalidRequest(f"{field} is missing; possible: text", param=field)
    if isinstance(content, str):
        return content
    texts = []
    for number, part in enumerate(content):
        text = part.refusal if part.type == "refusal" else part.text if part.type in _TEXTS else None
        if text is None:
            where = f"{field}[{number}]"
            raise InvalidRequest(
                f'{where}: a part of type {part.type!r} can\'t be read; possible: {{"type": "input_text", '
                '"text": "..."}',
                param=f"{where}.type",
            )
        texts.append(text)
    return "\n".join(texts)
