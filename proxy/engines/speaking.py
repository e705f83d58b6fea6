"""What all engines have in common about text: conversations become token ids, and answers are checked before they are
begun.

Knows nothing of how a model is run or read.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import CallRules, Event, Generation, Message, ModelInfo, Reword, Run, Tool
from proxy.engines.checks import check_generation
from proxy.engines.errors import PromptTooLong, Refusal
from proxy.engines.text.lexicon import Constraint, Lexicon
from proxy.engines.text.speech import Speaker
from proxy.engines.text.token_bound import TokenBound
from proxy.engines.text.typed_markers import Hiding, Markers

_ANYTHING = {"role": "user", "content": "Hello."}
_TELLING = 16  # characters of a line that is hardly in a template by chance


class SpeakingEngine(ABC):
    """The part of an engine that is about text; `encode` and `pieces` are left to subclasses. `bound` is there where
    the vocabulary allows to tell of a text that it is too long without tokenising it; `markers` are those of vocabulary
    and template."""

    def __init__(
        self, info: ModelInfo, lexicon: Lexicon, speaker: Speaker, bound: TokenBound | None, markers: Markers
    ) -> None:
        self._bound = bound
        self._markers = markers
        self._info = info
        self._lexicon = lexicon
        self._n_tokens = lexicon.n_tokens
        self._speaker = speaker
        self._marks = speaker.marks

    @property
    def info(self) -> ModelInfo:
        return self._info

    @cached_property
    def opening(self) -> list[int]:
        """The tokens between a rendered prompt and an answer without reasoning."""
        if self._speaker.harmony is not None:
            return self._speaker.harmony.header("final", self.encode)
        return [] if self._speaker.think is None else self._thoughtless(self.render([_ANYTHING]))

    def _thoughtless(self, prompt: Sequence[int]) -> list[int]:
        """What follows a prompt where the answer is to come without thoughts, and the template did not see to it."""
        think = self._speaker.think
        return [] if think is None else think.header(think.state(prompt, self._speaker.special), "", self.encode)

    @abstractmethod
    def _write(self, messages: Sequence[Message], tools: Sequence[Tool] | None, **extra: Any) -> str:
        """The conversation as the model's template writes it. Refusal where that refuses."""

    @abstractmethod
    def _tokenize(self, text: str) -> list[int]:
        """The ids of a conversation that is written down."""

    def render(
        self,
        messages: Sequence[Message],
        *,
        reasoning_effort: str | None = None,
        tools: Sequence[Tool] | None = None,
        options: Mapping[str, Any] | None = None,
        reword: Reword | None = None,
    ) -> list[int]:
        """Token ids of a conversation with the prompt for an answer. Refusal of the template, or PromptTooLong, before
        it is tokenised, for what can't fit however it is tokenised."""
        hiding = self._markers.hiding()
        effort = {} if reasoning_effort is None else {"reasoning_effort": reasoning_effort}
        extra = hiding.hide({**effort, **(options or {})})
        messages, tools = [hidden(hiding, message) for message in messages], hiding.hide(tools)
        if reword is not None:
            messages, tools = reword(messages, tools or ()), None
        text = self._written(messages, tools, **extra)
        if hiding.needed:
            self._check_length(hiding.shown(text))
            ids = hiding.tokenize(text, self.encode, self._encode_on)
        else:
            self._check_length(text)
            ids = self._tokenize(text)
        if not ids:
            raise Refusal("the model's chat template makes nothing of these messages", "prompt")
        return [*ids, *self._thoughtless(ids)] if extra.get("enable_thinking") is False else ids

    def _written(self, messages: Sequence[Message], tools: Sequence[Tool] | None, **extra: Any) -> str:
        """The conversation in the form that the template takes: with its system messages or without, its contents as
        texts or as parts. Refusal where the template refuses all, or leaves the user's text out of all."""
        talks = [messages]
        if any(message["role"] == "system" for message in messages):
            talks.append(without_system(messages))
        refusal: Refusal | None = None
        silent: str | None = None
        for form in (list, as_parts):
            for talk in talks:
                try:
                    text = self._write(form(talk), tools, **extra)
                    if self._heeds(talk, form, text, tools, **extra):
                        return text
                    silent = text if silent is None else silent
                except Refusal as error:
                    refusal = error if form is list else refusal
        if silent is None:
            assert refusal is not None
            raise refusal
        if last_said(messages, "user") is None:
            return silent
        raise Refusal("the model's chat template leaves the text of the user's message out", "prompt")

    def _heeds(
        self,
        messages: Sequence[Message],
        form: Callable[[Sequence[Message]], list[Message]],
        text: str,
        tools: Sequence[Tool] | None,
        **extra: Any,
    ) -> bool:
        """Whether the last user message's text is in the conversation that was written down, or the last system
        message's where users say nothing. Where its longest line does not tell, a word is written in its place."""
        last = last_said(messages, "user")
        if last is None and (last := last_said(messages, "system")) is None:
            return True
        line = max(str(messages[last]["content"]).splitlines(), key=len).strip()
        if len(line) >= _TELLING and line in text:
            return True
        word = f"q{secrets.token_hex(12)}"
        probed = [*messages[:last], {**messages[last], "content": word}, *messages[last + 1 :]]
        return word in self._write(form(probed), tools, **extra)

    def _check_length(self, text: str) -> None:
        if self._bound is not None and (least := self._bound.least(text)) >= self._info.context_length:
            raise PromptTooLong(
                f"This model's maximum context length is {self._info.context_length} tokens, of which at least one is "
                f"for the answer. However, the prompt has at least {least} tokens. Please reduce its length."
            )

    def _encode_on(self, text: str) -> list[int]:
        """The ids of plain text that comes behind a special token."""
        return self.encode(text)

    def _encode_said(self, text: str) -> list[int]:
        """The ids of what an answer has said: its tags are the model's own."""
        hiding = self._markers.hiding()
        return hiding.tokenize(hiding.hide_special(text), self.encode, self._encode_on)

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without markers."""

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a raw prompt, in which markers are special tokens. PromptTooLong for what can't fit."""
        self._check_length(text)
        ids, first = self._tokenize(text), self._first_id
        return ids if first is None or ids[:1] == [first] else [first, *ids]

    @property
    @abstractmethod
    def _first_id(self) -> int | None:
        """The token that the tokenizer puts before a text, None where it puts none."""

    def begin(self, prompt: Sequence[int], content: str, reasoning: str = "") -> tuple[list[int], list[int]]:
        """The headers and the text of an answer to `prompt` that has begun. Refusal for reasoning of a model that has
        none, or PromptTooLong."""
        self._check_length(reasoning + content)
        return self._speaker.begun(prompt, content, reasoning, self.encode, self._encode_said)

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        """Queue a generation and return at once. Raises Refusal or, once closed, EngineClosed."""
        check_generation(generation, self._info, self._n_tokens)
        return self._hand_in(answer_of(generation, self._speaker, self._lexicon, on_event))

    @abstractmethod
    def _hand_in(self, answer: RunningAnswer) -> Run:
        """Run an answer. EngineClosed once closed."""

    def check_schema(self, schema: str | None, calls: CallRules | None = None) -> None:
        """Refusal for a JSON schema, or rules of calls, that no answer can be kept to. Blocks for up to a second."""
        _grammar(schema, calls, self._lexicon)

    def speller(self, *, marked: bool = False) -> Callable[[int], bytes]:
        """Tells the bytes that a token adds to a text, none for a special one, or its own text with `marked`."""
        return self._lexicon.speller(self._marks if marked else {})


def answer_of(
    generation: Generation, speaker: Speaker, lexicon: Lexicon, on_event: Callable[[Event], None]
) -> RunningAnswer:
    """The answer that a generation is to become. Refusal for what it can't be kept to."""
    constraint = _constraint(generation, speaker, lexicon)
    ruled = constraint is not None and constraint.with_calls
    calls = generation.calls is not None
    if generation.raw:
        speech = speaker.raw_speech(generation.prompt)
    else:
        speech = speaker.speech(generation.prompt, calls, generation.begun, ruled=ruled)
    return RunningAnswer(generation, on_event, speech, constraint)


def _constraint(generation: Generation, speaker: Speaker, lexicon: Lexicon) -> Constraint | None:
    schema, rules = generation.sampling.json_schema, generation.calls
    if schema is None and rules is None:
        return None
    if speaker.harmony is not None and rules is not None:
        return _grammar(schema, rules, lexicon, speaker.harmony.begun_by(generation.prompt))
    in_content = speaker.speech(generation.prompt).writing == "content"
    said = generation.prompt[len(generation.prompt) - generation.begun :] if in_content else ()
    return _grammar(schema, rules, lexicon, said)


def _grammar(
    schema: str | None, rules: CallRules | None, lexicon: Lexicon, said: Sequence[int] = ()
) -> Constraint | None:
    """What an answer is kept to, of which some is said. Refusal for what it can't be kept to."""
    if rules is None:
        return None if schema is None else lexicon.constraint(schema, said)
    if schema is None and not rules.needed and not lexicon.known:
        return None
    return lexicon.calls(rules, schema, said)


def hidden(hiding: Hiding, message: Message) -> Message:
    """The message with what was typed hidden. Other people's texts are text, whatever they look like. What an assistant
    said is what the model wrote: it may have begun with `<think>`, where templates look for the end of the thoughts, or
    hold a call whose tags were tokens when they were written. Special tokens end an answer, so that none is in one. Nor
    can a call's arguments or separate thoughts have held the tags that end them, so they are text too."""
    if message["role"] != "assistant":
        return {name: hiding.hide(value) for name, value in message.items()}
    return {
        name: hiding.hide_special(value) if name == "content" else hiding.hide(value) for name, value in message.items()
    }


def without_system(messages: Sequence[Message]) -> list[Message]:
    """The same conversation for templates that have no system role: what its system messages say goes before the first
    user message, or is one where there is none."""
    said = [str(message["content"]) for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    first = next((at for at, message in enumerate(others) if message["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": "\n\n".join(said)}, *others]
    asked = {**others[first], "content": "\n\n".join([*said, str(others[first]["content"])])}
    return [*others[:first], asked, *others[first + 1 :]]


def as_parts(messages: Sequence[Message]) -> list[Message]:
    """The same conversation for templates that take a message's content as parts only."""
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def last_said(messages: Sequence[Message], role: str) -> int | None:
    """Where the last message of a role is that has a text."""
    said = (at for at, message in enumerate(messages) if message["role"] == role and str(message["content"]).strip())
    return max(said, default=None)
