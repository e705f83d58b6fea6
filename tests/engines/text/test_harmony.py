"""GPT-OSS's channels are told apart by marker ids alone, and no marker shows, whatever the model emits."""

import json
from itertools import groupby
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.stream import ChunkSequence, GrowingChoice, Head, completion, frame
from proxy.engines.base import Finish, Token
from proxy.engines.text.harmony import HarmonyFormat
from proxy.engines.text.speech import Speaker
from proxy.protocol.steering import UNSTEERED
from tests.engines.tiny_models import HARMONY_MARKERS, byte_tokenizer

HARMONY = byte_tokenizer(harmony=True)
SPEAKER = Speaker(HARMONY, [])
PROMPT = "<|start|>user<|message|>hi<|end|><|start|>assistant"


def ids(text: str) -> list[int]:
    encoded: list[int] = HARMONY.encode(text, add_special_tokens=False)
    return encoded


def tokens_of(answer: list[int], prompt: str = PROMPT) -> list[Token]:
    speech = SPEAKER.speech(ids(prompt))
    return [speech.add(token) for token in answer]


def said(text: str, prompt: str = PROMPT) -> list[tuple[str, str]]:
    """The answer's text by channel, in pieces of one channel each; a call begins with its function, as in "f: {}"."""
    pieces: list[tuple[str, str]] = []
    for token in tokens_of(ids(text), prompt):
        piece = token.text if token.opens is None else f"{token.opens}: {token.text}"
        if piece and pieces and pieces[-1][0] == token.channel and token.opens is None:
            pieces[-1] = (token.channel, pieces[-1][1] + piece)
        elif piece:
            pieces.append((token.channel, piece))
    return pieces


def test_channels_when_a_model_thinks_first_then_reasoning_and_content_are_apart() -> None:
    text = "<|channel|>analysis<|message|>Hm, é.<|end|><|start|>assistant<|channel|>final<|message|>Ja!<|return|>"
    assert said(text) == [("reasoning", "Hm, é."), ("content", "Ja!")]


@pytest.mark.parametrize(
    "text",
    [
        '<|channel|>commentary to=functions.get-it_2 <|constrain|>json<|message|>{"a": "é"}<|call|>',
        '<|channel|>commentary to=functions.get-it_2<|constrain|>json<|message|>{"a": "é"}<|call|>',
        '<|channel|>commentary to=functions.get-it_2 json<|message|>{"a": "é"}<|end|>',
        ' to=functions.get-it_2<|channel|>commentary<|message|>{"a": "é"}',
        ' to=functions.get-it_2<|channel|>commentary <|constrain|>json<|message|>{"a": <|constrain|>"é"}<|return|>',
        '<|channel|>analysis to=functions.get-it_2<|message|>{"a": "é"}<|call|>',
    ],
)
def test_commentary_when_addressed_to_a_function_then_it_is_a_call(text: str) -> None:
    assert said(text) == [("arguments", 'get-it_2: {"a": "é"}')] or said(text) == [
        ("arguments", "get-it_2: "),
        ("arguments", '{"a": "é"}'),
    ]


@pytest.mark.parametrize("recipient", ["python", "functions.", "functions.ünder", "functions." + "x" * 65, "user"])
def test_messages_when_addressed_to_anyone_else_then_have_no_text(recipient: str) -> None:
    assert said(f"<|channel|>commentary to={recipient}<|message|>{{}}<|call|>") == []
    assert said(f"<|channel|>final to={recipient}<|message|>x<|end|>") == []


def test_commentary_when_addressed_to_nobody_then_is_content() -> None:
    assert said("<|channel|>commentary<|message|>First, this.<|end|>") == [("content", "First, this.")]


@pytest.mark.parametrize("role", ["user", "functions.f to=assistant", "system", "developer"])
def test_other_speakers_when_the_model_makes_them_up_then_they_have_no_text(role: str) -> None:
    for channel in ("", "<|channel|>final", "<|channel|>analysis", "<|channel|>commentary to=functions.f"):
        assert said(f"<|channel|>final<|message|>a<|end|><|start|>{role}{channel}<|message|>b<|end|>") == [
            ("content", "a")
        ]


def test_a_prompt_when_it_began_the_answer_then_the_answer_goes_on_from_there() -> None:
    assert said("Yes", "<|start|>assistant<|channel|>final<|message|>") == [("content", "Yes")]
    assert said("lysis<|message|>x", "<|start|>assistant<|channel|>ana") == [("reasoning", "x")]
    assert said("<|message|>plain") == [("content", "plain")]


def test_a_message_when_its_end_is_forgotten_then_the_next_channel_counts() -> None:
    text = "<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Ja!<|return|>"
    assert said(text) == [("reasoning", "Hm."), ("content", "Ja!")]
    assert said("<|channel|>analysis<|channel|>final<|message|>Ja<|message|>!") == [("content", "Ja!")]
    assert said("<|end|><|channel|>final<|message|>Ja!") == [("content", "Ja!")]


def test_a_marker_when_inside_a_body_then_is_no_text_whatever_the_tokenizer_calls_special() -> None:
    form = HarmonyFormat.of(HARMONY)
    assert form is not None
    reader = form.reader(ids("<|start|>assistant<|channel|>final<|message|>"))
    assert [reader.add(token) for token in ids("a<|message|><|constrain|>b")] == [True, False, False, True]


def test_a_marker_s_name_when_split_into_letters_then_it_is_text() -> None:
    tokens = HARMONY.encode("<|end|>", add_special_tokens=False, split_special_tokens=True)
    assert "".join(t.text for t in tokens_of(tokens, "<|start|>assistant<|channel|>final<|message|>")) == "<|end|>"


WORDS = ["assistant", "user", "final", "analysis", "commentary", " to=functions.f", " to=python", "json", " ", "{é}"]
HEADERS = [
    "<|channel|>analysis<|message|>",
    "<|start|>assistant<|channel|>final<|message|>",
    "<|channel|>commentary to=functions.f<|message|>",
    "<|start|>user<|message|>",
]
# Single bytes too, so that characters are cut in two; never "<", which could spell a marker in letters.
PIECES = st.one_of(
    st.sampled_from(HEADERS + WORDS).map(ids),
    st.sampled_from(HEADERS + HARMONY_MARKERS).map(ids),
    st.integers(0, 255).map(lambda token: [token] if HARMONY.decode([token]) != "<" else []),
)
EMITTED = st.lists(PIECES, min_size=3, max_size=20).map(lambda pieces: [token for piece in pieces for token in piece])


@given(EMITTED, st.none() | st.integers(0, 100), st.sampled_from(["stop", "length"]), st.booleans())
def test_no_marker_reaches_a_client_when_anything_is_emitted_and_cut_anywhere(
    emitted: list[int], cut: int | None, reason: Literal["stop", "length"], tools: bool
) -> None:
    events: list[Token | Finish] = [*tokens_of(emitted[:cut]), Finish(reason)]
    head = Head("chatcmpl-1", 1, "tiny", "fp", prompt_tokens=1, steering=UNSTEERED)
    streamed, whole = GrowingChoice(tools=tools), GrowingChoice(tools=tools)
    sequence = ChunkSequence(head, [streamed], include_usage=True)
    chunks = [*sequence.opening(), *(c for event in events for c in sequence.feed(0, event)), *sequence.closing()]
    for event in events:
        whole.feed(event)
    sent = b"".join(frame(chunk) for chunk in chunks).decode() + json.dumps(whole.content)
    assert not any(marker.strip("<>") in sent for marker in HARMONY_MARKERS) and "<|" not in sent

    message = completion(head, [whole]).choices[0].message
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == (message.content or "")
    assert "".join(delta.reasoning or "" for delta in deltas) == (message.reasoning or "")
    pieces = [piece for delta in deltas for piece in delta.tool_calls or ()]
    joined = [
        (calls[0].id, calls[0].function.name, "".join(call.function.arguments for call in calls))
        for calls in (list(group) for _, group in groupby(pieces, lambda piece: piece.index))
    ]
    assert joined == [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    assert tools or not joined
    assert len({id_ for id_, _, _ in joined}) == len(joined)


TEXTS = st.text("ab é{}.", max_size=8)
MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["<|start|>assistant", "<|start|>user", "<|start|>functions.f to=assistant"]),
        st.sampled_from(["analysis", "final", "commentary", "commentary to=functions.f", "commentary to=python", "x"]),
        TEXTS,
    ),
    max_size=6,
)
CHANNEL_OF = {"analysis": "reasoning", "final": "content", "commentary": "content"}


@given(MESSAGES)
def test_messages_when_whole_then_each_has_its_text_in_its_channel(messages: list[tuple[str, str, str]]) -> None:
    text = "<|end|>" + "".join(f"{role}<|channel|>{name}<|message|>{body}<|end|>" for role, name, body in messages)
    expected: dict[str, str] = {"content": "", "reasoning": "", "arguments": ""}
    calls = 0
    for role, name, body in messages:
        if role == "<|start|>assistant":
            called = name.endswith("functions.f")
            calls += called
            expected["arguments" if called else CHANNEL_OF.get(name, "nowhere")] = (
                expected.get("arguments" if called else CHANNEL_OF.get(name, "nowhere"), "") + body
            )
    expected.pop("nowhere", None)
    found = {"content": "", "reasoning": "", "arguments": ""}
    tokens = tokens_of(ids(text))
    for token in tokens:
        found[token.channel] += token.text
    assert found == expected
    assert [token.opens for token in tokens if token.opens] == ["f"] * calls
