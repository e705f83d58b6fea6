"""What is read of an answer: its mean, which there is only where the answer says something, and each token's own."""

from proxy.chat.projections import Readings
from proxy.engines.base import Finish, Token


def fed(*events: Token | Finish, traced: bool = False) -> Readings:
    readings = Readings(["silly"], traced=traced)
    for event in events:
        readings.feed(event)
    return readings


HEADER = (Token(1, ""), Token(2, "", readings=(1.0,)), Token(3, "", readings=(2.0,)))


def test_means_then_over_all_tokens_that_were_read() -> None:
    readings = fed(*HEADER, Token(4, "Paris", readings=(3.0,)), Finish("stop", (6.0,)))
    assert readings.means() == {"silly": 3.0} and readings.n_tokens == 4


def test_means_when_the_answer_is_cut_off_before_a_text_was_read_then_there_are_none() -> None:
    assert fed(*HEADER, Finish("length")).means() == {}
    assert fed(*HEADER, Token(4, "Paris", readings=(3.0,)), Finish("length")).means() == {}
    assert fed(Finish("stop")).means() == {}


def test_trace_then_each_reading_stands_beside_its_own_token_once() -> None:
    readings = fed(*HEADER, Token(4, "Paris", readings=(3.0,)), Finish("stop", (6.0,)), traced=True)
    traced = [(token.token, token.projection["silly"]) for token in readings.trace()]
    assert traced == [("", 1.0), ("", 2.0), ("", 3.0), ("Paris", 6.0)]
    assert readings.trace() == []
