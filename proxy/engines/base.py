"""What an engine is: token ids in, token events and residuals out.

An engine knows its model's chat template, tokenizer and weights, and how to apply a steering plan. It knows
nothing of HTTP, of personas or of traits. Block indices are 0-based; a residual is the output of its block.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

Positions = Literal["last_prompt", "response", "all"]
Mode = Literal["add", "target", "cap"]
Span = Literal["last_prompt", "response"]
Channel = Literal["content", "reasoning", "arguments"]  # the last: of a call to one of the client's functions
Message = dict[str, Any]  # {"role": ..., "content": str, ...}: what a chat template takes
Tool = dict[str, Any]  # {"type": "function", "function": {"name": ..., ...}}: what a chat template takes
Reword = Callable[[Sequence[Message], Sequence[Tool]], list[Message]]  # the conversation, with the tools told in words


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a loaded model."""

    id: str
    family: str  # the architecture's own name, e.g. "qwen2"
    n_layers: int
    hidden_size: int
    context_length: int  # tokens, prompt and answer together
    fingerprint: str  # of the weights; vectors are tied to it
    engine: str  # "transformers" | "llama_cpp" | "vllm"
    device: str
    dtype: str
    world: str | None = None  # the small world a model was made for and knows nothing beyond, as its file names it
    weights_bytes: int | None = None  # of memory, as they are held
    # Another server's: it takes a Talk. Where that takes no plans, nothing is known of its shape; 0 or "" says so.
    in_words: bool = False
    by_prompt: bool = False  # who asks for a persona, and for no method, gets it in words

    @property
    def steerable(self) -> bool:
        """Whether its residuals can be steered at all."""
        return self.n_layers > 0


UpstreamState = Literal["up", "half_open", "open", "down", "draining"]
UpstreamOutcome = Literal["ok", "refused", "busy", "failed", "cancelled"]


@dataclass(frozen=True)
class Upstream:
    """One of the servers that a model runs on. `problem`: why it is not up. `ended`: how many requests, by how they
    ended."""

    url: str
    state: UpstreamState
    problem: str | None
    running: int
    ended: Mapping[UpstreamOutcome, int]


@runtime_checkable
class HasUpstreams(Protocol):
    """An engine whose model other servers run."""

    @property
    def upstreams(self) -> list[Upstream]:
        """Each as it is now. Any thread may ask."""

    def drain(self, url: str, draining: bool) -> None:
        """Give a server nothing new, or give it requests again. KeyError where there is no such server."""


@dataclass(frozen=True)
class Intervention:
    """What happens to the residual `h` at the output of one block.

    `add`:    h += vector                                     (float32[hidden])
    `target`: h's projection on each row of `basis` becomes `levels`
    `cap`:    h's projection on each row of `basis` is lowered to `levels` where it is above

    `basis` is float32[k, hidden] with linearly independent unit rows, `levels` float32[k] in residual units.
    """

    block: int
    positions: Positions
    mode: Mode
    vector: FloatArray | None = None
    basis: FloatArray | None = None
    levels: FloatArray | None = None


@dataclass(frozen=True)
class Plan:
    """All interventions of one request; an empty plan leaves the model alone.

    `channels` limits them, where it is not None: a generated token, and the prompt's last, is steered only if what
    follows it goes on with a message of these channels. `last_prompt` is then the first such token, so the one before
    the channel's first, and `all` still steers the whole prompt.
    """

    interventions: tuple[Intervention, ...] = ()
    channels: frozenset[Channel] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Equal exactly for plans that do the same."""
        digest = hashlib.sha256()
        if self.channels is not None and self.interventions:
            digest.update(f"{sorted(self.channels)}".encode())
        for item in self.interventions:
            digest.update(f"{item.block}/{item.positions}/{item.mode}".encode())
            for array in (item.vector, item.basis, item.levels):
                digest.update(b"-" if array is None else str(array.shape).encode() + array.tobytes())
        return digest.hexdigest()

    @cached_property
    def prompt_key(self) -> str:
        """Equal exactly for plans that do the same to a prompt's tokens before its last, so that most share the key of
        the empty plan: the key under which those tokens' KV may be reused."""
        before = tuple(item for item in self.interventions if item.positions == "all")
        if self.channels is None and len(before) == len(self.interventions):
            return self.fingerprint
        return Plan(before).fingerprint


@dataclass(frozen=True)
class Probe:
    """A number read from the residual `h` at the output of one block: h @ direction - offset, with float32[hidden].

    It is read before anything is done to `h` there. Steering a block changes nothing before it, so at a block no later
    than the first that the plan steers this is what the same text would show in the unsteered model.
    """

    block: int
    direction: FloatArray
    offset: float


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 is greedy; `seed` None draws a fresh one.

    With `json_schema`, a JSON schema as text, the answer's content is a JSON value that follows it, unless it ends at
    `max_tokens`; what the model writes elsewhere, its reasoning, is free. `top_logprobs`: how many of the likeliest
    tokens' log-probabilities each Token of the content carries besides its own; None for none at all.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: off
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # token id: added to its logit
    seed: int | None = None
    json_schema: str | None = None
    top_logprobs: int | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the same answer is expected when the same is asked for again."""
        return self.temperature == 0 or self.seed is not None


@dataclass(eq=False)
class Together:
    """Generations that are handed in one by one and begin together: an engine starts none before it has all `size` of
    them, and runs at most `most` at once. Which run beside which then depends on nothing but themselves."""

    size: int
    most: int
    number: int = field(default_factory=count().__next__)  # no other has it


@dataclass(frozen=True)
class CallableFunction:
    """`parameters` is the JSON schema of its arguments, as text. One that can't be enforced counts as any object,
    unless it is `strict`."""

    name: str
    parameters: str
    strict: bool = False


@dataclass(frozen=True)
class CallRules:
    """Which functions an answer may call. `needed`: it must call one, and says nothing before. `several`: it may call
    more than one."""

    functions: tuple[CallableFunction, ...]
    needed: bool = False
    several: bool = True


NO_LIMIT = 2**31 - 1  # as Sampling.max_tokens: the answer ends where the model's context does


class Spelling:
    """Token ids for the tokens of one request whose model tells them by what they spell alone."""

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}
        self._spelt: list[bytes] = []

    def id_of(self, spelt: bytes) -> int:
        """The same for the same bytes."""
        if spelt not in self._ids:
            self._spelt.append(spelt)
            self._ids[spelt] = len(self._spelt) - 1
        return self._ids[spelt]

    def bytes_of(self, id_: int) -> bytes:
        return self._spelt[id_]


@dataclass(frozen=True)
class Talk:
    """A request in words, for a model whose chat template and tokenizer are another server's.

    `raw`, a text or token ids, is the whole prompt in place of a conversation. The answer goes on with `content` and
    `reasoning`. `options` are what the chat template gets to see. `stops` are texts that end it. `weights`: those that
    the generation's plan was made for.
    """

    messages: Sequence[Message] = ()
    raw: str | Sequence[int] | None = None
    tools: Sequence[Tool] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    content: str = ""
    reasoning: str = ""
    stops: tuple[str, ...] = ()
    weights: str = ""
    spelling: Spelling = field(default_factory=Spelling, compare=False)


@dataclass(frozen=True)
class Generation:
    """One answer to make: the prompt's token ids, how to sample, how to steer, and what to read at every generated
    token. With `calls`, calls of functions follow its rules and are told as calls; else they are the text they are.
    The prompt's last `begun` tokens are text of the answer itself, which goes on with it: see Engine.begin.
    `together` is the same for those that begin together.
    With `raw` the prompt is a text of the client's own that the answer goes on with: whatever the model's format of
    answers is, all of it is content.
    With `talk`, where ModelInfo.in_words is set, that is the prompt.
    """

    prompt: Sequence[int]
    sampling: Sampling
    plan: Plan = Plan()
    probes: tuple[Probe, ...] = ()
    calls: CallRules | None = None
    begun: int = 0
    raw: bool = False
    together: Together | None = field(default=None, compare=False)
    talk: Talk | None = None


@dataclass(frozen=True)
class Likelihood:
    """A token's log-probability in the model's own distribution, and the likeliest tokens with theirs, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Token:
    """One generated token. `text` is what it adds to the answer: may be "" while a character is incomplete.

    `opens` names the function where the token opens a call; the "arguments" from there on, this token's own text
    included, are that call's, a JSON object in pieces.

    `logprob`, of a token of the content where Sampling.top_logprobs is set, but for special ones unless the prompt was
    raw, is that in the model's own distribution:
    temperature 1, before penalties, bias, filters and schema, steered where the answer is. `top` holds the ids and
    log-probabilities of the likeliest tokens, best first, without special ones.

    `readings`: what the generation's probes read at the token before this one, in their order; empty without probes and
    for the answer's first token. `cached`, of the answer's first token: how many of the prompt's had been read before.
    """

    id: int
    text: str
    channel: Channel = "content"
    opens: str | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    readings: tuple[float, ...] = ()
    cached: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Counted:
    """How many tokens another server counted of an answer, those of its reasoning among them, and of its prompt, of
    which it had read `cached` before."""

    prompt: int
    answer: int
    reasoning: int = 0
    cached: int = 0


@dataclass(frozen=True)
class ReadToken:
    """A generated token's text, and what the generation's probes read at it, in their order."""

    text: str
    readings: tuple[float, ...]


@dataclass(frozen=True)
class Finish:
    """The answer ended: by the model's own end token ("stop") or at `max_tokens` ("length"). `readings` are of the last
    token; empty at "length", since that token is never run. `rest`: the text, or the call, that was held back because
    it might have gone on; it is of tokens that were told before. `end`: the model's end token, where log-probabilities
    are asked for. `counted`: where each Token may be several, how many there were; `read` then has what was read of
    them, whose Tokens have no readings."""

    reason: Literal["stop", "length"]
    readings: tuple[float, ...] = ()
    rest: Token | None = None
    end: Token | None = None
    counted: Counted | None = None
    read: tuple[ReadToken, ...] = ()


@dataclass(frozen=True)
class Failure:
    """The answer can't go on; nothing follows."""

    error: Exception


Event = Token | Finish | Failure


class Run(Protocol):
    """A generation under way."""

    def cancel(self) -> None:
        """Stop it within one token and free its place. Safe from any thread, and more than once. No further event."""


@runtime_checkable
class AwaitedRun(Run, Protocol):
    """A run that may be refused or fail after `start` has returned and before it begins."""

    @property
    def accepted(self) -> "Future[None]":
        """Done once it is certain to begin; has the error where it did not come to that. It can't be cancelled."""


@dataclass(frozen=True)
class Rollout:
    """Token ids to read residuals from: a prompt and the response that followed it."""

    prompt: Sequence[int]
    response: Sequence[int] = ()


@dataclass(frozen=True)
class SpanStats:
    """Residuals of many rollouts over one span.

    `means`: float32[n_rollouts, n_layers, hidden], each rollout's mean over the span's tokens.
    `norms`: float32[n_rollouts, n_layers], each rollout's median residual norm over the span's tokens.
    A rollout without a response has zeros in the span "response".
    """

    means: FloatArray
    norms: FloatArray


@dataclass(frozen=True)
class AnswerReadings:
    """What one pass over many rollouts shows, unsteered.

    `means`: float32[n_rollouts, n_blocks, hidden], each rollout's mean residual over its response, zeros without one.
    `logprobs`: each rollout's float32[n_response_tokens], the log-probability of every response token.
    """

    means: FloatArray
    logprobs: list[FloatArray]


class Engine(Protocol):
    """One model, run by one worker thread of its own."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def cached_bytes(self) -> int:
        """Of memory, for what is kept of prompts that were read, for later ones that begin alike. Any thread may ask,
        while the model works."""

    @property
    def opening(self) -> list[int]:
        """The tokens between a rendered prompt and the text of an answer that is given without reasoning: in GPT-OSS
        the header of its final channel, in most models none."""

    def render(
        self,
        messages: Sequence[Message],
        *,
        reasoning_effort: str | None = None,
        tools: Sequence[Tool] | None = None,
        options: Mapping[str, Any] | None = None,
        reword: Reword | None = None,
    ) -> list[int]:
        """Token ids of the conversation with the prompt for an answer. Refusal when the template refuses; what
        it does not know, such as tools, it may ignore. `options` are what else the template gets to see;
        `enable_thinking` False has the answer come without thoughts, whatever the template knows of it.

        What looks like a marker in messages and tools is text; in an assistant's content that holds for special tokens
        alone. With `reword` the template gets what that makes of the conversation, whose own markers count."""

    def begin(self, prompt: Sequence[int], content: str, reasoning: str = "") -> tuple[list[int], list[int]]:
        """The tokens that follow a rendered prompt where the answer has begun so: headers and what is said before, and
        then the text that it goes on with, the content's or else the reasoning's. Both are empty where nothing is
        begun. Refusal for reasoning of a model that has none."""

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        """Queue a generation and return at once. `on_event` is called on the worker thread, ending with one
        Finish or Failure unless cancelled."""

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None = None
    ) -> dict[Span, SpanStats]:
        """Residuals at the output of every block, unsteered. Blocks the caller (never call it on the event loop);
        `progress` is told how many more rollouts are done."""

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        """Each rollout's residuals token by token, float32[n_tokens of the span, n_blocks, hidden], unsteered, at the
        output of `blocks`, in their order. Blocks the caller; keeps it all, so hand in as many as memory is for."""

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        """Each rollout's float32[n_response_tokens]: the log-probability of every response token after what precedes
        it, with each rollout steered by its own plan as if the response were being generated; unsteered without
        `plans`. Blocks."""

    def likelihoods(
        self,
        texts: Sequence[Sequence[int]],
        plans: Sequence[Plan],
        n_top: int,
        given_up: Callable[[], bool] = lambda: False,
    ) -> list[list[Likelihood]]:
        """Of each text, every token but the first after what precedes it, with the `n_top` likeliest in its place,
        special ones too. Each text is steered as its plan steers a prompt before its last token. Blocks; once nobody
        wants it any more, which `given_up` tells between steps, what comes back is not complete."""

    def read(
        self,
        rollouts: Sequence[Rollout],
        blocks: Sequence[int],
        progress: Callable[[int], None] | None = None,
    ) -> AnswerReadings:
        """Mean residuals over the responses at the output of `blocks`, in their order, and log-probabilities of the
        responses, in one pass, unsteered. Blocks the caller."""

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        """float32[n_prompts, n_token_ids]: log-probability of each token right after each prompt. Blocks."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, with no template and no special tokens."""

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a raw prompt: the texts of special tokens are these tokens, and the token that the tokenizer
        begins texts with comes first. PromptTooLong, before it is tokenised, for what can't fit however it is."""

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """What each of a text's tokens adds to it: whole characters only, so "" while one is incomplete, and for
        special tokens."""

    def check_schema(self, schema: str | None, calls: CallRules | None = None) -> None:
        """Refusal for a Sampling.json_schema, or rules of calls, that no answer can be kept to. Blocks for up to a
        second, so that `start` with the same does not."""

    def speller(self, *, marked: bool = False) -> Callable[[int], bytes]:
        """Tells the bytes that a token adds to a text, none for a special one, or its own text with `marked`; any
        thread may call it. Refusal for a kind of tokenizer of which that can't be told."""

    def close(self) -> None:
        """Stop the worker and give the model's memory back. Generations under way end in a Failure."""
