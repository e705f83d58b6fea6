"""A vocabulary as bytes: what each token spells, and which may come next while an answer keeps to a JSON schema.

The grammar of a schema is llguidance's. Knows nothing of models, batches or channels.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from proxy.engines.base import CallableFunction, CallRules, Channel
from proxy.engines.errors import Refusal
from proxy.engines.text.call_grammar import call_grammar
from proxy.engines.text.kept_schemas import KeptSchemas
from proxy.engines.text.unique_items import UniqueItems, without_unique_items

BoolArray = npt.NDArray[np.bool_]

# Between the parts of a JSON value: nothing, a space, or a new line and its indentation. Were there no limit, a model
# that does not know how to go on could write blanks for ever.
_BLANKS = r"\n {0,20}| "
# Verbose errors carry the whole grammar. With the usual fuel of 1,000,000 a short pattern takes 2 s and 260 MB.
_LIMITS = LLParserLimits(verbose_errors=False, initial_lexer_fuel=200_000)
_KEPT_CALLS = 16  # compiled
_MOST_CALLS = 256 * 1024  # characters of all functions' parameters together


@dataclass(frozen=True)
class CallForm:
    """How an answer's calls are written: `grammar` makes a grammar of their rules, the schema of an answer without any
    or None, and what may stand between the parts of JSON. `channels`: what of the answer the grammar is of, None being
    what has no channel. `markers`: the special tokens in it."""

    grammar: Callable[[CallRules, str | None, str], str]
    channels: frozenset[Channel | None]
    markers: frozenset[int] = frozenset()


_TAGGED = CallForm(call_grammar, frozenset(("content", "arguments")))


class Lexicon:
    """One model's. Any thread may use it.

    `make` is called at once, while the model loads: with a large vocabulary it takes a second or two, all the while
    holding Python's lock, which would keep every other request waiting for the first that asks for JSON.
    `special` tokens spell nothing; `stops` are the end tokens; `tags` stand around calls, and in no JSON value.
    `n_tokens` are those the model has logits for. `calls`: in what form functions are called, if not between tags.
    """

    def __init__(
        self,
        make: Callable[[], LLTokenizer],
        n_tokens: int,
        special: Set[int],
        stops: Set[int],
        tags: Set[int] = frozenset(),
        calls: CallForm | None = None,
    ) -> None:
        self.n_tokens = n_tokens
        self.special = special
        self.unspoken = _below(n_tokens, (special | tags) - stops)
        self._form = calls or _TAGGED
        self.unspoken_in_calls = _below(n_tokens, special - stops - self._form.markers)
        self.stops = _below(n_tokens, stops)
        self._lock = threading.Lock()
        try:
            self._tokens: LLTokenizer | str = make()
        except Exception as error:  # the model is of use without
            self._tokens = str(error)
        self._kept_calls = lru_cache(_KEPT_CALLS)(self._compile_calls)
        self._compiled = KeptSchemas(self._compile)

    def speller(self, marked: Mapping[int, str]) -> Callable[[int], bytes]:
        """Tells the bytes that a token adds to a text: for a special one those in `marked`, or none."""
        tokens = self._known()
        marks = {id_: text.encode() for id_, text in marked.items()}

        def spell(token: int) -> bytes:
            if token in self.special:
                return marks.get(token, b"")
            if token >= self.n_tokens:
                raise Refusal(f"token {token} is not one of the model's {self.n_tokens}", "prompt")
            return tokens.decode_bytes([token])

        return spell

    def constraint(self, schema: str, begun: Sequence[int] = ()) -> "Constraint":
        """For one answer that follows `schema`, JSON as text, and has begun with some tokens; quick for a schema that
        was asked for before. Refusal for one that is none or too large, or that no answer of this model can follow."""
        unique = _unique_items(schema)
        if unique is not None and not unique.enforceable():
            possible = "strings, numbers, booleans and null"
            raise Refusal(
                f"uniqueItems can't be enforced of arrays and objects; possible: items that are {possible}",
                "json_schema",
            )
        compiled = self._compiled(schema if unique is None else _without_unique_items(schema))
        with self._lock:
            matcher = compiled.deep_copy()
        if matcher.try_consume_tokens(list(begun)) < len(begun):
            raise Refusal("what the answer begins with does not follow it", "json_schema")
        if unique is not None:
            unique.take(b"".join(self.spelt[token] for token in begun))
        return Constraint(matcher, self, unique=unique)

    def calls(self, rules: CallRules, answer: str | None, begun: Sequence[int] = ()) -> "Constraint":
        """For one answer that may call functions, and else follows the schema `answer`, or none. Refusal as for
        schemas."""
        with self._lock:
            matcher = self._kept_calls(rules, answer).deep_copy()
        if matcher.try_consume_tokens(list(begun)) < len(begun):
            if rules.needed:
                raise Refusal("one must be called, and the answer begins with something else", "calls")
            raise Refusal("what the answer begins with does not follow it", "json_schema")
        optional = answer is None and not rules.needed
        return Constraint(matcher, self, self._form.channels, with_calls=True, optional=optional)

    def _compile_calls(self, rules: CallRules, answer: str | None) -> LLMatcher:
        if answer is not None:
            self._compiled(answer)  # names what is wrong with it
        if sum(len(function.parameters) for function in rules.functions) > _MOST_CALLS:
            raise Refusal(f"their parameters have more than {_MOST_CALLS} characters together", "calls")
        functions = tuple(self._enforceable(function) for function in rules.functions)
        grammar = self._form.grammar(replace(rules, functions=functions), answer, _BLANKS)
        matcher = LLMatcher(self._known(), grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise Refusal(f"calls can't be kept to their functions: {_reason(matcher)}", "calls")
        return matcher

    def _enforceable(self, function: CallableFunction) -> CallableFunction:
        if not function.strict and _unique_items(function.parameters) is not None:
            function = replace(function, parameters=_without_unique_items(function.parameters))
        try:
            self._compiled(function.parameters)
        except Refusal as error:
            if function.strict:
                raise Refusal(f"the parameters of {function.name}: {error.message}", "calls") from None
            return replace(function, parameters='{"type": "object"}')
        return function

    @cached_property
    def spelt(self) -> list[bytes]:
        """What each token spells."""
        return [self._known().decode_bytes([token]) for token in range(self.n_tokens)]

    @cached_property
    def quoting(self) -> BoolArray:
        """bool[n_tokens]: which tokens may end a string."""
        return np.array([b'"' in text for text in self.spelt])

    @cached_property
    def spelling(self) -> dict[bytes, list[int]]:
        """The tokens that spell a text."""
        tokens: dict[bytes, list[int]] = {}
        for token, text in enumerate(self.spelt):
            tokens.setdefault(text, []).append(token)
        return tokens

    @cached_property
    def opening(self) -> BoolArray:
        """bool[n_tokens]: which tokens may open an array and have several items in it."""
        return np.array([b"[" in text and b"," in text for text in self.spelt])

    @property
    def known(self) -> bool:
        """Whether it can be told what the model's tokens spell."""
        return not isinstance(self._tokens, str)

    def _known(self) -> LLTokenizer:
        if isinstance(self._tokens, str):
            raise Refusal(f"what the model's tokens spell can't be told: {self._tokens}")
        return self._tokens

    def _compile(self, schema: str) -> LLMatcher:
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                schema, overrides={"whitespace_pattern": _BLANKS, "lenient": False}
            )
        except ValueError as error:
            raise Refusal(f"it is not a JSON schema: {error}", "json_schema") from None
        matcher = LLMatcher(self._known(), grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise Refusal(f"answers can't be kept to it: {_reason(matcher)}", "json_schema")
        if not Constraint(matcher, self).allowed().any():
            raise Refusal("nothing that this model can spell follows it", "json_schema")
        return matcher


class Constraint:
    """A JSON value as it is being written, or an answer that may call functions: `with_calls`, and `optional` where it
    may as well say anything. `channels`: what of the answer it is for, None being what has no channel. `failed`: it
    can't go on, because nothing that may come next can be spelt, or because working out what may would take too
    long."""

    def __init__(
        self,
        matcher: LLMatcher,
        lexicon: Lexicon,
        channels: frozenset[Channel | None] = frozenset(("content",)),
        *,
        with_calls: bool = False,
        optional: bool = False,
        unique: UniqueItems | None = None,
    ) -> None:
        self.failed = False
        self.channels = channels
        self.with_calls = with_calls
        self.optional = optional
        self._matcher = matcher
        self._lexicon = lexicon
        self._unique = unique

    def allowed(self) -> BoolArray:
        """bool[n_tokens]: which tokens may come next; end tokens are among them where the value is complete."""
        mask = np.frombuffer(self._matcher.compute_logit_bias(), np.uint8)[: self._lexicon.n_tokens] > 0
        mask[self._lexicon.unspoken_in_calls if self.with_calls else self._lexicon.unspoken] = (
            False  # llguidance takes some of them for ordinary text
        )
        if self._unique is not None:
            self._forbid_repetitions(mask, self._unique)
        self.failed = self._matcher.is_error() or not mask.any()
        if self.failed:
            mask[:] = False
        return mask

    def _forbid_repetitions(self, mask: BoolArray, items: UniqueItems) -> None:
        tried = mask.copy()
        tried[self._lexicon.stops] = False
        if not items.inside:
            tried &= self._lexicon.opening
        elif items.in_free_text:
            tried &= self._lexicon.quoting
        for token in tried.nonzero()[0].tolist():
            mask[token] = not items.forbids(self._lexicon.spelt[token])
        for token in (each for text in items.almost() for each in self._lexicon.spelling.get(text, ())):
            mask[token] = mask[token] and self._can_go_on(token, items.copy())

    def _can_go_on(self, token: int, items: UniqueItems) -> bool:
        """Whether anything but a repetition may follow a token."""
        items.take(self._lexicon.spelt[token])
        next_ = Constraint(self._matcher.deep_copy(), self._lexicon)
        next_.take(token)
        return any(not items.forbids(self._lexicon.spelt[each]) for each in next_.allowed().nonzero()[0].tolist())

    def unended(self) -> BoolArray:
        """bool[n_tokens]: what may come next outside of the value, where the answer can't end yet."""
        mask = np.ones(self._lexicon.n_tokens, np.bool_)
        mask[self._lexicon.stops] = False
        return mask

    def take(self, token: int) -> None:
        """The value goes on with an allowed `token`."""
        self._matcher.consume_token(token)
        if self._unique is not None:
            self._unique.take(self._lexicon.spelt[token])


def _unique_items(schema: str) -> UniqueItems | None:
    """For a schema, as JSON text, that may want items to differ."""
    if '"uniqueItems"' not in schema:
        return None
    try:
        return UniqueItems(json.loads(schema))
    except (ValueError, RecursionError):
        return None  # what is wrong with it is told when it is compiled


def _without_unique_items(schema: str) -> str:
    return json.dumps(without_unique_items(json.loads(schema)))


def _below(n_tokens: int, ids: Set[int]) -> npt.NDArray[np.int64]:
    return np.array([id_ for id_ in ids if id_ < n_tokens], np.int64)


def _reason(matcher: LLMatcher) -> str:
    """Its error in one line, without the state of the parser that may stand below it."""
    return " ".join(matcher.get_error().partition("\n<")[0].split())
