"""The log-probabilities a client is sent are those of the text it is sent, streamed or not."""

import math
from dataclasses import replace

import msgspec
from hypothesis import example, given

from proxy.chat.logprobs import to_logprobs
from proxy.chat.stream import ChunkSequence, GrowingChoice, completion
from proxy.engines.base import Event, Finish, Token
from proxy.protocol.chat import Logprobs
from tests.chat.test_stream import HEAD, STOPS, split_texts


@given(split_texts(), STOPS)
@example(("abc", ["ab", "c"]), ["abb", "c"])  # what was held back is sent because of a token that is not
def test_logprobs_when_streamed_then_are_those_of_the_whole_answer_and_of_the_text_so_far(
    split: tuple[str, list[str]], stops: list[str]
) -> None:
    parts = split[1]  # some are empty, as a token is whose character is incomplete
    fed: list[Event] = [*(Token(id_, part, logprob=-float(id_)) for id_, part in enumerate(parts)), Finish("stop")]
    head = replace(HEAD, spell=lambda id_: parts[id_].encode())
    streamed, whole = GrowingChoice(stops), GrowingChoice(stops)
    sequence, entries, text = ChunkSequence(head, [streamed], include_usage=False), [], ""
    for event in fed:
        whole.feed(event)  # type: ignore[arg-type]
        for chunk in sequence.feed(0, event):  # type: ignore[arg-type]
            choice = chunk.choices[0]
            assert (choice.logprobs is None) == (choice.finish_reason is not None)
            before, text = text, text + (choice.delta.content or "")
            for entry in choice.logprobs.content if choice.logprobs else []:
                begin = len("".join(parts[: -int(entry.logprob)]))
                assert len(before) <= begin < len(text)
                entries.append(entry)
    assert completion(head, [whole]).choices[0].logprobs == Logprobs(entries)
    assert [-entry.logprob for entry in entries] == list(range(len(entries)))
    spelt = "".join(entry.token for entry in entries)
    assert spelt.startswith(text) and (len(spelt) == len(text) or any(stop in "".join(parts) for stop in stops))


def test_logprobs_when_nobody_asked_then_there_are_none() -> None:
    assert to_logprobs([Token(1, "a", logprob=-1.0)], None) is None


def test_an_entry_when_its_bytes_are_half_a_character_then_is_valid_json_that_shows_them() -> None:
    token = Token(0, "", logprob=-0.5, top=((1, -math.inf),))
    entry = msgspec.json.decode(msgspec.json.encode(to_logprobs([token], [b"a\xc3", b" b"].__getitem__)))
    assert entry == {
        "content": [
            {
                "token": "a\\xc3",
                "logprob": -0.5,
                "bytes": [97, 0xC3],
                "top_logprobs": [{"token": " b", "logprob": -9999.0, "bytes": [32, 98]}],
            }
        ],
        "refusal": None,
    }


def test_tokens_of_reasoning_when_logprobs_are_asked_for_then_have_no_entries() -> None:
    answer = GrowingChoice()
    for token in (Token(1, "hm", "reasoning"), Token(2, "yes", logprob=-1.0)):
        answer.feed(token)
    assert [token.id for token in answer.sent.all] == [2]
