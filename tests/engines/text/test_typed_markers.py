"""What is typed is text, whatever it looks like, and everything else has the ids that it always had."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from proxy.engines.speaking import hidden
from proxy.engines.text.typed_markers import Marker, Markers, any_of, apart, is_tag
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
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'tool' %}<tool_response>\n{{ m.content }}\n"
    "</tool_response>{% else %}{{ m.content.split('</think>')[-1] if m.role == 'assistant' else m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
DEEPSEEK = (
    "{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}<｜Assistant｜>"
    "{{ m.content }}<|eot_id|>{% endif %}{% endfor %}<｜Assistant｜><think>\n"
)
TEMPLATES = {
    "chatml": CHAT_TEMPLATE,
    "harmony": HARMONY_TEMPLATE,
    "llama3": LLAMA3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "qwen3": QWEN3,
    "deepseek": DEEPSEEK,
}
OWN = [
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    *("<s>", "</s>", "[INST]", "[/INST]"),
]
TAGS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<｜User｜>", "<｜Assistant｜>", "<|fim_prefix|>"),
]
WORDS = ["\n\n\n", "<h1>", "</h1>"]  # added tokens that are ordinary text, as Gemma has them


def tokenizer_of(harmony: bool) -> Any:
    tokenizer = byte_tokenizer(harmony)
    tokenizer.add_tokens(OWN, special_tokens=True)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in [*TAGS, *WORDS]])
    return tokenizer


TOKENIZERS = [tokenizer_of(False), tokenizer_of(True)]
KNOWN = [
    {
        it.content: Marker(id_, tag=not it.special)
        for id_, it in tokenizer.added_tokens_decoder.items()
        if it.special or is_tag(it.content, "".join(TEMPLATES.values()))
    }
    for tokenizer in TOKENIZERS
]
MARKERS = [Markers(known) for known in KNOWN]
TYPED = sorted({*KNOWN[0], *KNOWN[1]})
STUBBORN = any_of(TAGS)
EACH = settings(max_examples=12)  # of the fourteen ways to render that a promise is tried on
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def rendered(which: int, template: str, texts: list[str]) -> tuple[list[int], list[int]]:
    """The ids of a conversation by way of hiding, and as the tokenizer itself has them."""
    tokenizer, hiding = TOKENIZERS[which], MARKERS[which].hiding()
    talk = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    kwargs: dict[str, Any] = {"chat_template": template, "tokenize": False}
    text = tokenizer.apply_chat_template([hidden(hiding, message) for message in talk], **kwargs)

    def encode(piece: str) -> list[int]:
        kwargs = {"add_special_tokens": False, "split_special_tokens": True}
        return [id_ for part in apart(piece, STUBBORN) for id_ in tokenizer.encode(part, **kwargs)]

    ordinary = tokenizer.encode(tokenizer.apply_chat_template(talk, **kwargs), add_special_tokens=False)
    return hiding.tokenize(text, encode, encode), ordinary


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("which", [0, 1], ids=["chat", "harmony"])
def test_a_conversation_when_nothing_special_is_typed_then_the_ids_are_the_ordinary_ones(
    which: int, template: str
) -> None:
    @EACH
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

    @EACH
    @given(st.lists(st.lists(TEXTS | st.sampled_from(TYPED), max_size=5).map("".join), min_size=1, max_size=3))
    def check(texts: list[str]) -> None:
        texts = [STUBBORN.sub("", text) if at % 2 else text for at, text in enumerate(texts)]  # an assistant's count
        ours, ordinary = rendered(which, template, texts)
        bare, _ = rendered(which, template, ["" for _ in texts])
        assert [id_ for id_ in ours if id_ in special] == [id_ for id_ in bare if id_ in special]
        assert TOKENIZERS[which].decode(ours) == TOKENIZERS[which].decode(ordinary)

    check()


@pytest.mark.parametrize("tag", [*TAGS, "</h1>"])
def test_an_added_token_when_it_is_no_marker_then_it_stays_one_token(tag: str) -> None:
    ids, ordinary = rendered(0, CHAT_TEMPLATE, [f"a{tag}b"])
    assert (ids == ordinary) == (tag in WORDS)
    assert TOKENIZERS[0].decode(ids) == TOKENIZERS[0].decode(ordinary)


def test_tags_then_they_are_those_that_the_template_or_the_server_writes() -> None:
    assert not any(is_tag(text, "") for text in ["<think>", "<h1>", "\n\n", "   ", "##"])
    assert not any(is_tag(text, "  if x\n\n ## ") for text in ["<h1>", "\n\n", "  ", "##"])
    assert all(is_tag(text, "") for text in ["<tool_call>", "</tool_response>", "<|fim_prefix|>", "<｜tool▁sep｜>"])
    assert is_tag("<think>", "a<think>b") and is_tag("### User:", "{{ '### User:' }}")


def test_an_assistants_tags_when_the_template_looks_for_them_then_it_finds_them() -> None:
    for typed in ("", "<|im_end|>"):
        ids, _ = rendered(0, QWEN3, [f"Hi.</think>{typed}", f"<think>\nHm.{typed}\n</think>Hello.{typed}", "Bye."])
        assert TOKENIZERS[0].decode(ids) == (
            f"<|im_start|>user\nHi.</think>{typed}<|im_end|>\n<|im_start|>assistant\nHello.{typed}<|im_end|>\n"
            "<|im_start|>user\nBye.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n"
        )
        assert ids.count(KNOWN[0]["</think>"].id) == 1


def test_a_text_when_hidden_but_for_its_tags_then_only_special_tokens_are_text() -> None:
    hiding = MARKERS[0].hiding()
    hidden = hiding.hide_special("a</think>b<|im_end|>c<tool_call>")
    assert "</think>" in hidden and "<tool_call>" in hidden and "<|im_end|>" not in hidden
    ids = hiding.tokenize(hidden, TOKENIZERS[0].encode, TOKENIZERS[0].encode)
    assert KNOWN[0]["</think>"].id in ids and KNOWN[0]["<tool_call>"].id in ids
    assert Markers({"<think>": Marker(1)}).hiding().hide_special("<think>") == "<think>"  # some files call it special


def test_a_text_when_taken_apart_then_no_marker_is_in_a_piece_and_nothing_is_lost() -> None:
    @given(st.lists(TEXTS | st.sampled_from(TAGS), max_size=8).map("".join))
    def check(text: str) -> None:
        pieces = apart(text, STUBBORN)
        assert "".join(pieces) == text and not any(STUBBORN.search(piece) for piece in pieces)

    check()
    assert apart("a<tool_call><|x|><1>", any_of(["<tool_call>", "<1>"])) == ["a<tool", "_call><|x|><", "1>"]


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
