"""An answer that is to follow a JSON schema does, whatever else its request asks for and whoever shares its batch."""

import json
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLParserLimits, LLTokenizer
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Engine, Event, Failure, Finish, Generation, Plan, Sampling, Token
from proxy.engines.blocking import Completion, generate_all
from proxy.engines.errors import Refusal
from proxy.engines.text import lexicon
from proxy.engines.text.lexicon import Lexicon
from proxy.engines.text.speech import Speaker
from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama
from tests.engines.tiny_models import byte_tokenizer, save_tiny_model

HARMONY, PLAIN = byte_tokenizer(harmony=True), byte_tokenizer(harmony=False)
FINAL = "<|channel|>final<|message|>"
LOOSE = Sampling(12, temperature=1.2, seed=3)

leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": "integer", "minimum": -20, "maximum": 300}),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 5)),
    st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=3), min_size=1, max_size=3, unique=True)),
)


def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "ñ", 'q"'])
    return st.one_of(
        st.builds(lambda each, most: {"type": "array", "items": each, "maxItems": most}, inner, st.integers(1, 2)),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
        st.builds(
            lambda parts: {
                "type": "object",
                "properties": parts,
                "required": sorted(parts)[:1],
                "additionalProperties": False,
            },
            st.dictionaries(names, inner, max_size=2),
        ),
    )


schemas = st.recursive(leaves, wider, max_leaves=3)


def follows(schema: dict[str, Any], value: Any) -> bool:
    """For the schemas above, by reading them."""
    if "anyOf" in schema:
        return any(follows(each, value) for each in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            return type(value) is int and -20 <= value <= 300
        case "string":
            return isinstance(value, str) and len(value) <= schema["maxLength"]
        case "array":
            fits = isinstance(value, list) and len(value) <= schema["maxItems"]
            return fits and all(follows(schema["items"], each) for each in value)
    known = schema["properties"]
    return (
        isinstance(value, dict)
        and set(schema["required"]) <= value.keys() <= known.keys()
        and all(follows(known[name], each) for name, each in value.items())
    )


@pytest.fixture(params=["transformers", "llama_cpp"])
def engine_for(
    request: pytest.FixtureRequest, models_folder: Path, engine_of: LoadEngine, llama_of: LoadLlama
) -> Callable[[str], Engine]:
    """A tiny model of a family, run by either engine."""
    if request.param == "llama_cpp":
        return lambda family: llama_of(family, exact=True)
    return lambda family: engine_of(save_tiny_model(family, models_folder / family))


def ask(engine: Engine, text: str, sampling: Sampling) -> Generation:
    prompt = engine.render([{"role": "user", "content": text}])
    if engine.info.family in ("gpt_oss", "gpt-oss"):
        prompt += HARMONY.encode(FINAL, add_special_tokens=False)  # random weights would hardly ever open it
    return Generation(prompt, sampling)


@given(
    schema=schemas,
    temperature=st.sampled_from([0.0, 0.8, 2.0]),
    rules=st.sampled_from(
        [{}, {"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.3}, {"repetition_penalty": 1.3}, {"frequency_penalty": 2.0}]
    ),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("family", ["qwen2", "gpt-oss"])
def test_an_answer_when_it_has_a_schema_then_follows_it_and_its_neighbour_stays_the_same(
    family: str,
    engine_for: Callable[[str], Engine],
    schema: dict[str, Any],
    temperature: float,
    rules: dict[str, Any],
    seed: int,
) -> None:
    engine = engine_for(family)
    wanted = Sampling(1500, temperature=temperature, seed=seed, json_schema=json.dumps(schema), **rules)
    free = ask(engine, "free", LOOSE)
    alone = generate_all(engine, [free])[0]
    answer, beside = generate_all(engine, [ask(engine, "kept", wanted), free])
    assert answer.finish_reason == "stop"
    assert follows(schema, json.loads(answer.text)), answer.text
    assert beside == alone


def test_a_bias_towards_a_token_when_the_schema_forbids_it_then_it_is_not_drawn(
    engine_for: Callable[[str], Engine],
) -> None:
    engine = engine_for("qwen2")
    bias = {token: 100.0 for token in (*engine.encode("x"), PLAIN.eos_token_id)}
    wanted = Sampling(50, logit_bias=bias, json_schema='{"enum": ["yes", "no"]}')
    assert json.loads(generate_all(engine, [ask(engine, "?", wanted)])[0].text) in ("yes", "no")


def test_an_answer_when_it_is_cut_off_inside_the_value_then_ends_by_length(
    engine_for: Callable[[str], Engine],
) -> None:
    engine = engine_for("qwen2")
    wanted = Sampling(4, seed=1, json_schema='{"const": "long enough"}')
    assert generate_all(engine, [ask(engine, "?", wanted)]) == [Completion('"lon', "", engine.encode('"lon'), "length")]


def test_an_answer_when_cancelled_inside_the_value_then_is_silent_and_the_others_go_on(
    engine_for: Callable[[str], Engine],
) -> None:
    engine = engine_for("qwen2")
    schema = '{"type": "array", "items": {"type": "integer"}, "minItems": 3000}'
    heard: list[Event] = []
    started, cancelled = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        heard.append(event)
        if len(heard) == 3:
            started.wait(20)
            run.cancel()
            cancelled.set()

    run = engine.start(ask(engine, "cancelled", Sampling(1500, seed=1, json_schema=schema)), listen)
    started.set()
    assert cancelled.wait(20)
    kept = ask(engine, "kept", Sampling(200, seed=2, json_schema='{"enum": [true, false]}'))
    assert generate_all(engine, [kept])[0].text in ("true", "false")
    assert len(heard) == 3


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "not a JSON schema"),
        ("[]", "not a JSON schema"),
        ('{"items":' * 5000 + "{}" + "}" * 5000, "recursion limit"),
        ('{"type": "word"}', "Invalid type: word"),
        ('{"not": {}}', "not"),
        ('{"not": {}, "x-guidance": {"lenient": true}}', "not"),
        ('{"type": "string", "pattern": "(a"}', "unclosed group"),
        ('{"$ref": "http://127.0.0.1:9/schema"}', "Default retriever does not fetch"),
        ('{"$ref": "#"}', "nothing that this model can spell"),
        ('{"allOf": [{"type": "string"}, {"type": "null"}]}', "Unsatisfiable"),
    ],
)
def test_a_schema_when_it_can_t_be_followed_then_nothing_starts(
    schema: str, why: str, engine_for: Callable[[str], Engine]
) -> None:
    engine = engine_for("qwen2")
    for refuse in (
        engine.check_schema,
        lambda text: engine.start(ask(engine, "?", Sampling(9, json_schema=text)), lambda event: None),
    ):
        with pytest.raises(Refusal) as caught:
            refuse(schema)
        assert caught.value.part == "json_schema"
        assert why in caught.value.message and "\n" not in caught.value.message


def test_a_value_when_working_it_out_takes_too_long_then_its_answer_alone_fails(
    models_folder: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(save_tiny_model("qwen2", models_folder / "qwen2"))
    limits = LLParserLimits(step_max_items=60, verbose_errors=False)
    monkeypatch.setattr(lexicon, "_LIMITS", limits)
    crowd = json.dumps({"anyOf": [{"type": "array", "items": {"const": f"a{n}"}} for n in range(100)]})
    free, heard = ask(engine, "free", LOOSE), queue.SimpleQueue[Event]()
    expected = generate_all(engine, [free])
    engine.start(ask(engine, "?", Sampling(1000, seed=1, json_schema=crowd)), heard.put)
    assert generate_all(engine, [free]) == expected
    while isinstance(event := heard.get(timeout=20), Token):
        pass
    assert isinstance(event, Failure) and isinstance(event.error, Refusal)
    assert "schema" in event.error.message


def lexicon_of(tokenizer: Any) -> Lexicon:
    speaker = Speaker(tokenizer, [])
    make = lambda: LLTokenizer(tokenizer.backend_tokenizer.to_str(), eos_token=sorted(speaker.stops))  # noqa: E731
    return Lexicon(make, len(tokenizer), speaker.special, speaker.stops, speaker.tags)


def test_reasoning_when_there_is_a_schema_then_is_free_but_can_t_end_the_answer() -> None:
    markers, stops = HARMONY.get_vocab(), Speaker(HARMONY, []).stops
    marker_ids = {id_ for name, id_ in markers.items() if name.startswith("<|")}
    constraint = lexicon_of(HARMONY).constraint('{"type": "boolean"}')
    generation = Generation([markers["<|start|>"]], Sampling(1000, json_schema="{}"))
    told: list[Event] = []
    answer = RunningAnswer(generation, told.append, Speaker(HARMONY, []).speech(generation.prompt), constraint)
    for text, body in (
        ("assistant<|channel|>analysis<|message|>Hm.", True),
        ("<|end|><|start|>assistant<|channel|>commentary to=functions.f<|message|>{", True),
        ("<|end|><|start|>assistant<|channel|>final<|message|>", False),
    ):
        for token in HARMONY.encode(text, add_special_tokens=False):
            allowed = answer.allowed()
            assert allowed is not None and set(range(len(HARMONY))) - set(allowed.nonzero()[0]) == stops
            answer.accept(token, stops, 10_000)
        assert answer.constrained and (answer.allowed()[markers["<|end|>"]] == body)  # type: ignore[index]
    for token in HARMONY.encode("true", add_special_tokens=False):
        allowed = answer.allowed()
        assert allowed is not None and allowed[token] and not allowed[sorted(marker_ids)].any()
        answer.accept(token, stops, 10_000)
    assert set(answer.allowed().nonzero()[0]) == stops  # type: ignore[union-attr]
    assert not answer.accept(markers["<|return|>"], stops, 10_000) and told[-1] == Finish("stop")


def word_tokenizer(*words: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: id_ for id_, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", unk_token=words[0])


def test_tool_tags_when_there_is_a_schema_then_are_not_drawn_into_strings() -> None:
    tagged = word_tokenizer("?", '"', "<", "<tool_call>", "</tool_call>")  # ordinary tokens, as in Qwen's GGUF files
    constraint = lexicon_of(tagged).constraint('{"type": "string"}')
    constraint.take(1)
    assert constraint.allowed().nonzero()[0].tolist() == [1, 2]


def test_a_vocabulary_when_it_can_t_spell_json_then_the_schema_is_refused() -> None:
    with pytest.raises(Refusal, match="can spell"):
        lexicon_of(word_tokenizer("?", "yes", "no")).constraint('{"type": "object"}')
    with pytest.raises(Refusal, match="can't be told"):
        Lexicon(lambda: LLTokenizer("{}"), 3, frozenset(), frozenset()).constraint('{"type": "object"}')


def test_a_value_when_its_rest_can_t_be_spelt_then_it_has_failed() -> None:
    constraint = lexicon_of(word_tokenizer("?", '"', "a")).constraint('{"enum": ["ab", "cb"]}')
    constraint.take(1)
    constraint.take(2)
    assert not constraint.allowed().any() and constraint.failed


def test_a_gguf_vocabulary_when_it_puts_a_space_before_texts_then_values_have_none(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
    import gguf

    from proxy.engines.llama_cpp.model import LlamaModel
    from proxy.engines.llama_cpp.vocabulary import Vocabulary

    kinds, words = gguf.TokenType, ["▁", "{", "}", '"', ":", "1", "a", '{"', 'a"', '"a', "▁{"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256, *[kinds.NORMAL] * len(words)]
    writer = gguf.GGUFWriter(tmp_path / "words.gguf", "llama")
    writer.add_tokenizer_model("llama")  # SentencePiece
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(id_) for id_ in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(True)
    writer.add_chat_template("{{ messages }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    vocabulary = Vocabulary(LlamaModel(tmp_path / "words.gguf", vocabulary_only=True))
    assert vocabulary.decode(vocabulary.encode("{")) == "{" and vocabulary.piece(vocabulary.encode("{")[0]) == b" {"
    known = Lexicon(vocabulary.to_bytes, vocabulary.size, frozenset(vocabulary.all_special_ids), frozenset((2,)))
    constraint = known.constraint('{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}')
    written = b""
    while (allowed := constraint.allowed().nonzero()[0].tolist()) and not written.endswith(b"1"):
        constraint.take(allowed[-1])
        written += known.speller({})(allowed[-1])
    assert written == b'{"a":1' and not constraint.failed
    assert vocabulary.to_bytes().tokenize_str("{é") == [tokens.index(piece) for piece in ("{", "<0xC3>", "<0xA9>")]


@pytest.mark.parametrize("text", ['{"a": [1, 2]}', '{"a":[1,2]}', '{\n  "a": [\n    1,\n    2\n  ]\n}'])
def test_json_when_written_in_any_usual_way_then_is_allowed_and_nothing_follows_it(text: str) -> None:
    constraint = lexicon_of(PLAIN).constraint('{"type": "object"}')
    for token in PLAIN.encode(text, add_special_tokens=False):
        assert constraint.allowed()[token]
        constraint.take(token)
    assert constraint.allowed().nonzero()[0].tolist() == [PLAIN.eos_token_id]


def test_blanks_when_a_model_loves_them_then_are_limited() -> None:
    constraint = lexicon_of(PLAIN).constraint('{"type": "object"}')
    for token in PLAIN.encode("{\n" + " " * 20, add_special_tokens=False):
        constraint.take(token)
    assert not constraint.allowed()[PLAIN.encode(" \n", add_special_tokens=False)].any()


def test_a_plan_when_beside_a_schema_then_does_not_matter_to_it(engine_for: Callable[[str], Engine]) -> None:
    engine = engine_for("qwen2")
    generation = ask(engine, "?", Sampling(50, seed=5, json_schema='{"type": "boolean"}'))
    texts = {completion.text for completion in generate_all(engine, [generation] * 3)}
    assert len(texts) == 1 and generation.plan == Plan()
