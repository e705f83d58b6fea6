"""The chunks of /v1/completions, put together, are its whole answer; and its tokens are where their texts are."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.completions import CompletionSequence, Echo, Growing, prompt_logprobs, text_completion
from proxy.chat.stream import GrowingChoice, Head
from proxy.engines.base import Finish, Likelihood, Token
from proxy.protocol.steering import UNSTEERED

TEXTS = st.text(st.sampled_from("ab é🙂"), max_size=4)
ANSWERS = st.lists(st.lists(TEXTS, max_size=5), min_size=1, max_size=3)


def spell(token: int) -> bytes:
    """A token for each byte."""
    return bytes([token])


def head(spelt: bool) -> Head:
    return Head("cmpl-1", 1, "m", "fp", 4, UNSTEERED, spell if spelt else None)


def tokens_of(text: str) -> list[Token]:
    """One for each byte; the last of a character has its text."""
    found = []
    for letter in text:
        *before, last = letter.encode()
        found += [Token(id_, "", logprob=-1.0, top=((97, -0.5),)) for id_ in before]
        found.append(Token(last, letter, logprob=-1.0, top=((97, -0.5),)))
    return found


def growing(prompt: str | None, spelt: bool, stops: list[str]) -> Growing:
    echo = None
    if prompt is not None:
        ids = list(prompt.encode())
        likely = [Likelihood(-2.0, ())] * max(len(ids) - 1, 0)
        echo = Echo(prompt, prompt_logprobs(prompt, ids, likely, spell) if spelt and ids else None)
    return Growing(echo, GrowingChoice(stops), UNSTEERED)


@given(answers=ANSWERS, prompt=st.none() | TEXTS, spelt=st.booleans(), stops=st.lists(TEXTS.filter(bool), max_size=2))
def test_stream_when_put_together_then_the_whole_answer(
    answers: list[list[str]], prompt: str | None, spelt: bool, stops: list[str]
) -> None:
    streamed, whole = ([growing(prompt, spelt, stops) for _ in answers] for _ in range(2))
    sequence = CompletionSequence(head(spelt), streamed, 1, include_usage=True)
    chunks = sequence.opening()
    for index, words in enumerate(answers):
        end = Token(10, "", logprob=-3.0) if spelt else None
        events = [token for word in words for token in tokens_of(word)] + [Finish("stop", end=end)]
        for event in events:
            chunks += sequence.feed(index, event)
            whole[index].answer.feed(event)
    chunks += sequence.closing()
    expected = text_completion(head(spelt), whole, 1)
    assert chunks[-1].usage == expected.usage and chunks[-1].choices == []
    for index, choice in enumerate(expected.choices):
        mine = [each for chunk in chunks for each in chunk.choices if each.index == index]
        assert "".join(each.text for each in mine) == choice.text
        assert [each.finish_reason for each in mine if each.finish_reason] == ["stop"] and mine[-1].finish_reason
        told: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for each in mine:
            for name in told if each.logprobs is not None else ():
                told[name] += getattr(each.logprobs, name)
        if spelt:
            assert choice.logprobs is not None
            assert told == {name: getattr(choice.logprobs, name) for name in told}


@given(prompt=TEXTS.filter(bool), added=st.sampled_from(["", "\x01", " "]))
def test_prompt_s_tokens_then_each_where_its_character_is(prompt: str, added: str) -> None:
    """What a tokenizer put before the text takes no room."""
    ids = list((added + prompt).encode())
    told = prompt_logprobs(prompt, ids, [Likelihood(-1.0, ())] * (len(ids) - 1), spell)
    places = [at for at, letter in enumerate(prompt) for _ in letter.encode()]
    assert told.text_offset == [0] * len(added) + places
    assert told.token_logprobs == [None] + [-1.0] * (len(ids) - 1)
    whole = [token for token in told.tokens if not token.startswith("bytes:")]
    assert all(len(token) == 1 for token in whole)
