"""The items of a response's output as they grow, and the events that tell of them.

Pure. An event holds what was so when it was made: nothing in it changes later.
"""

from collections.abc import Sequence
from typing import Protocol

from proxy.engines.base import Channel
from proxy.protocol.chat import TokenLogprob
from proxy.protocol.response_events import (
    ArgumentsDelta,
    ArgumentsDone,
    Event,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    TextDelta,
    TextDone,
)
from proxy.protocol.responses import (
    FunctionCallItem,
    ItemStatus,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningItem,
    ReasoningText,
)


class GrowingItem(Protocol):
    """An item of a channel's text."""

    channel: Channel

    def opening(self) -> list[Event]: ...

    def add(self, text: str, logprobs: Sequence[TokenLogprob]) -> Event: ...

    def closing(self, status: ItemStatus) -> list[Event]: ...

    def item(self, status: ItemStatus) -> OutputItem: ...


class GrowingMessage:
    """The answer. `at` is the item's place in the output; `number` tells its id from others'."""

    channel: Channel = "content"

    def __init__(self, number: str, at: int) -> None:
        self._id, self._at = f"msg_{number}", at
        self._texts: list[str] = []
        self._logprobs: list[TokenLogprob] = []

    def opening(self) -> list[Event]:
        begun = ItemAdded(self._at, OutputMessage(self._id, [], "in_progress"))
        return [begun, PartAdded(OutputText(""), item_id=self._id, output_index=self._at)]

    def add(self, text: str, logprobs: Sequence[TokenLogprob]) -> Event:
        self._texts.append(text)
        self._logprobs += logprobs
        return TextDelta(text, list(logprobs), item_id=self._id, output_index=self._at)

    def closing(self, status: ItemStatus) -> list[Event]:
        part = self._part()
        return [
            TextDone(part.text, part.logprobs, item_id=self._id, output_index=self._at),
            PartDone(part, item_id=self._id, output_index=self._at),
            ItemDone(self._at, self.item(status)),
        ]

    def item(self, status: ItemStatus) -> OutputItem:
        return OutputMessage(self._id, [self._part()], status)

    def _part(self) -> OutputText:
        return OutputText("".join(self._texts), list(self._logprobs))


class GrowingReasoning:
    """What the model thinks; log-probabilities are not told of it."""

    channel: Channel = "reasoning"

    def __init__(self, number: str, at: int) -> None:
        self._id, self._at = f"rs_{number}", at
        self._texts: list[str] = []

    def opening(self) -> list[Event]:
        begun = ItemAdded(self._at, ReasoningItem(self._id, [], "in_progress"))
        return [begun, PartAdded(ReasoningText(""), item_id=self._id, output_index=self._at)]

    def add(self, text: str, logprobs: Sequence[TokenLogprob]) -> Event:
        self._texts.append(text)
        return ReasoningDelta(text, item_id=self._id, output_index=self._at)

    def closing(self, status: ItemStatus) -> list[Event]:
        part = self._part()
        return [
            ReasoningDone(part.text, item_id=self._id, output_index=self._at),
            PartDone(part, item_id=self._id, output_index=self._at),
            ItemDone(self._at, self.item(status)),
        ]

    def item(self, status: ItemStatus) -> OutputItem:
        return ReasoningItem(self._id, [self._part()], status)

    def _part(self) -> ReasoningText:
        return ReasoningText("".join(self._texts))


class GrowingCall:
    """A call of the function `name`."""

    channel: Channel = "arguments"

    def __init__(self, number: str, at: int, name: str) -> None:
        self._id, self._at = f"fc_{number}", at
        self._call_id = f"call_{number}"
        self._name = name
        self._texts: list[str] = []

    def opening(self) -> list[Event]:
        return [ItemAdded(self._at, self.item("in_progress"))]

    def add(self, text: str, logprobs: Sequence[TokenLogprob]) -> Event:
        self._texts.append(text)
        return ArgumentsDelta(text, item_id=self._id, output_index=self._at)

    def closing(self, status: ItemStatus) -> list[Event]:
        done = ArgumentsDone(self._name, "".join(self._texts), item_id=self._id, output_index=self._at)
        return [done, ItemDone(self._at, self.item(status))]

    def item(self, status: ItemStatus) -> OutputItem:
        return FunctionCallItem(self._id, self._call_id, self._name, "".join(self._texts), status)
