"""Token ids become whole characters, markers have no text, and a tokenizer's format says what ends an answer."""

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.speech import Speaker
from tests.engines.tiny_models import byte_tokenizer

PLAIN = byte_tokenizer(harmony=False)
HARMONY = byte_tokenizer(harmony=True)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_pieces_when_joined_then_are_the_text_and_none_is_half_a_character(text: str) -> None:
    detokenizer = Detokenizer(PLAIN, frozenset())
    pieces = [detokenizer.add(token) for token in PLAIN.encode(text, add_special_tokens=False)]
    assert "".join(pieces).rstrip("\ufffd") == text.rstrip("\ufffd")
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_a_character_when_never_completed_then_it_is_dropped() -> None:
    detokenizer = Detokenizer(PLAIN, frozenset())
    tokens = PLAIN.encode("a🙂", add_special_tokens=False)[:-1]
    assert "".join(detokenizer.add(token) for token in tokens) == "a"


def test_broken_bytes_when_they_go_on_then_text_after_them_still_comes() -> None:
    detokenizer = Detokenizer(PLAIN, frozenset())
    half = PLAIN.encode("é", add_special_tokens=False)[:1]
    tokens = half * 9 + PLAIN.encode("ok", add_special_tokens=False)
    assert "".join(detokenizer.add(token) for token in tokens).endswith("ok")


def test_words_when_the_tokenizer_marks_them_by_a_leading_space_then_the_spaces_are_kept() -> None:
    words = {"<unk>": 0, "▁Hello": 1, "▁world": 2, "!": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    detokenizer = Detokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer), frozenset())
    assert [detokenizer.add(token) for token in (1, 2, 3, 2)] == ["Hello", " world", "!", " world"]


def test_words_when_a_text_goes_on_then_the_space_before_its_first_is_kept() -> None:
    words = {"<unk>": 0, "▁Hello": 1, "▁world": 2, "!": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    speech = Speaker(PreTrainedTokenizerFast(tokenizer_object=tokenizer), [9]).speech([3, 1], begun=1)
    assert [speech.add(token).text for token in (2, 3)] == [" world", "!"]


def test_markers_when_generated_then_have_no_text() -> None:
    speech = Speaker(PLAIN, [257]).speech([])
    assert [speech.add(token).text for token in (72, 256, 73)] == [PLAIN.decode([72]), "", PLAIN.decode([73])]


def test_stops_when_the_format_is_harmony_then_end_only_ends_a_message() -> None:
    vocabulary = HARMONY.get_vocab()
    stops = Speaker(HARMONY, [vocabulary["<|end|>"], 5]).stops
    assert stops == {5, vocabulary["<|return|>"], vocabulary["<|call|>"]}
    assert Speaker(PLAIN, [3]).stops == {3, PLAIN.eos_token_id}
