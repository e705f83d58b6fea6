"""What is typed is text, whatever it looks like, and everything else has the ids that it always had."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engines.text.typed_markers import Marker, Markers
from tests.engines.tiny_models import CHAT_TEMPLATE, HARMONY_TEMPLATE, byte_tokenizer

LLAMA3 = (
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA = (
    "<bos>{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "<start_of_turn>model\n"
)
MISTRAL = (
    "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
TEMPLATES = {
    "chatml": CHAT_TEMPLATE,
    "harmony": HARMONY_TEMPLATE,
    "llama3": LLAMA3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
}
OWN = [
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    *("<s>", "</s>", "[INST]", "[/INST]"),
]


def tokenizer_of(harmony: bool) -> Any:
    tokenizer = byte_tokenizer(harmony)
    tokenizer.add_tokens(OWN, special_tokens=True)
    return tokenizer


TOKENIZERS = [tokenizer_of(False), tokenizer_of(True)]
KNOWN = [
    {it.content: Marker(id_) for id_, it in tokenizer.added_tokens_decoder.items() if it.special}
    for tokenizer in TOKENIZERS
]
MARKERS = [Markers(known) for known in KNOWN]
TYPED = sorted({*KNOWN[0], *KNOWN[1]})
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def rendered(which: int, template: str, texts: list[str]) -> tuple[list[int], list[int]]:
    """The ids of a conversation by way of hiding, and as the tokenizer itself has them."""
    tokenizer, hiding = TOKENIZERS[which], MARKERS[which].hiding()
    talk = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    kwargs: dict[str, Any] = {"chat_template": template, "tokenize": False}
    text = tokenizer.apply_chat_template(hiding.hide(talk), **kwargs)

    def encode(piece: str) -> list[int]:
        ids: list[int] = tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=True)
        return ids

    ordinary = tokenizer.encode(tokenizer.apply_chat_template(talk, **kwargs), add_special_tokens=False)
    return hiding.tokenize(text, encode, encode), ordinary


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("which", [0, 1], ids=["chat", "harmony"])
def test_a_conversation_when_nothing_special_is_typed_then_the_ids_are_the_ordinary_ones(
    which: int, template: str
) -> None:
    @given(st.lists(TEXTS.filter(lambda text: MARKERS[which].pattern.search(text) is None), min_size=1, max_size=4))
    def check(texts: list[str]) -> None:
        ours, ordinary = rendered(which, template, texts)
        assert ours == ordinary

    check()


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("which", [0, 1], ids=["chat", "harmony"])
def test_markers_when_typed_then_the_special_ids_are_those_without_them_and_the_text_is_whole(
    which: int, template: str
) -> None:
    special = {marker.id for marker in KNOWN[which].values()}

    @given(st.lists(st.lists(TEXTS | st.sampled_from(TYPED), max_size=5).map("".join), min_size=1, max_size=3))
    def check(texts: list[str]) -> None:
        ours, ordinary = rendered(which, template, texts)
        bare, _ = rendered(which, template, ["" for _ in texts])
        assert [id_ for id_ in ours if id_ in special] == [id_ for id_ in bare if id_ in special]
        assert TOKENIZERS[which].decode(ours) == TOKENIZERS[which].decode(ordinary)

    check()


def test_strings_when_anywhere_in_what_is_hidden_then_keys_and_values_are_hidden_and_come_back() -> None:
    hiding = MARKERS[0].hiding()
    before = {"a": ["x<|im_end|>1", ("<s><s>", 3, None)], "<bos>": {"b": "</s>"}, "c": "plain"}
    after = hiding.hide(before)
    assert hiding.needed and MARKERS[0].pattern.search(str(after)) is None
    assert hiding.shown(str(after)) == str({**before, "a": ["x<|im_end|>1", ["<s><s>", 3, None]]})
    plain = MARKERS[0].hiding()
    assert plain.hide({"c": ["plain <|x|>"]}) == {"c": ["plain <|x|>"]} and not plain.needed


def test_blanks_when_a_marker_takes_them_then_they_are_no_text() -> None:
    hiding = Markers({"<a>": Marker(1, takes_before=True), "<b>": Marker(2, takes_behind=True)}).hiding()
    read: list[str] = []

    def encode(text: str) -> list[int]:
        read.append(text)
        return [9]

    assert hiding.tokenize("x  <a>  y  <b>  z", encode, encode) == [9, 1, 9, 2, 9]
    assert read == ["x", "  y  ", "z"]


def test_markers_when_one_begins_another_then_the_longest_is_found_and_without_any_nothing_is() -> None:
    pattern = Markers({"<a": Marker(1), "<a>": Marker(2), "<a><b": Marker(3), "word": Marker(4)}).pattern
    assert pattern.findall("<a><b <a><a <a<a> word") == ["<a><b", "<a>", "<a", "<a", "<a>"]
    assert Markers({}).pattern.search("<a>") is None
