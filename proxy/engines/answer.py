"""One answer being made, whatever engine makes it: what it says so far, when it ends, and whom it tells.

Knows nothing of models, batches or threads; it lives on its engine's worker thread, except for `cancel`.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from proxy.engines.base import Event, Failure, Finish, Generation, Intervention, Likelihood, Together, Token
from proxy.engines.errors import EngineError, ModelFailed, Refusal
from proxy.engines.text.lexicon import BoolArray, Constraint
from proxy.engines.text.saying import Speech

logger = logging.getLogger(__name__)

Steering = list[tuple[Intervention, ...]]  # what is done to each of some tokens


class RunningAnswer:
    """One generation under way; also the handle its owner cancels it by."""

    def __init__(
        self,
        generation: Generation,
        on_event: Callable[[Event], None],
        speech: Speech,
        constraint: Constraint | None = None,
    ) -> None:
        """`constraint` is that of the generation's schema. Refusal for a plan that is limited to channels the
        model does not have."""
        self.generation = generation
        self.prompt = list(generation.prompt)
        self.cancelled = False
        self.ended = False
        self.produced = 0
        self.last_token = -1
        self.readings: tuple[float, ...] = ()  # what the probes read at the last token, for the next event
        self.cached = 0  # so many of the prompt's tokens had been read before
        self.outbox: Outbox | None = None  # where events are to wait for whoever delivers them
        self._on_event = on_event
        self._speech = speech
        self._constraint = constraint
        plan = generation.plan
        if plan.channels is not None and not plan.channels & speech.channels:
            raise Refusal("this model has no such channel", "channels")
        self._everywhere = tuple(item for item in plan.interventions if item.positions == "all")
        self._lasting = tuple(item for item in plan.interventions if item.positions != "last_prompt")
        self._first_is_past = False
        self._steered = [self._next_steering()]  # what is done to each token, from the prompt's last one on
        self._heard = 0

    def cancel(self) -> None:
        """End it without a further event. Safe from any thread, and more than once."""
        self.cancelled = True

    @property
    def length(self) -> int:
        """Tokens so far, prompt and answer."""
        return len(self.prompt) + self.produced

    def steering_at(self, position: int) -> tuple[Intervention, ...]:
        """What the plan does to the token at `position`, counted from the prompt's first: the very same tuple as for
        the token before, unless something else is done. IndexError for a token yet to come, because it may depend on
        which one that is."""
        last = len(self.prompt) - 1
        return self._everywhere if position < last else self._steered[position - last]

    @property
    def steering_before(self) -> tuple[Intervention, ...]:
        """What is done to the prompt's tokens before its last."""
        return self._everywhere

    @property
    def steering_after(self) -> tuple[Intervention, ...]:
        """What is done to every steered token after the first that is steered."""
        return self._lasting

    @property
    def repeatable(self) -> bool:
        """Whether the same answer is expected when the same is asked for again."""
        return self.generation.sampling.repeatable

    @property
    def prefix_key(self) -> str:
        """Equal for answers that may go on from what was read of one another's prompts, before the last token."""
        key = self.generation.plan.prompt_key
        return key if self.among is None else f"{self.among.number} {key}"

    @property
    def among(self) -> Together | None:
        """The answers that this one begins with, where it is to be repeatable: then what was read for others is not for
        it."""
        together = self.generation.together
        return together if self.repeatable and together is not None and together.size > 1 else None

    @property
    def special(self) -> frozenset[int]:
        """The tokens that have no text wherever they stand."""
        return self._speech.special

    @property
    def constrained(self) -> bool:
        """Whether `allowed` may forbid a token at all."""
        return self._constraint is not None

    @property
    def _governed(self) -> bool:
        """Whether the next token is one that the constraint is for."""
        return self._constraint is not None and self._speech.writing in self._constraint.channels

    def allowed(self) -> BoolArray | None:
        """bool[n_tokens]: which tokens may come next; None for all. A schema is for the content: what comes before it,
        such as reasoning, is free, only that the answer can't end there."""
        if self._constraint is None:
            return None
        if not self._governed:
            return None if self._constraint.optional else self._constraint.unended()
        mask, opener = self._constraint.allowed(), self._speech.opener
        if opener is not None:
            mask[opener] = True
        return mask

    def _next_steering(self) -> tuple[Intervention, ...]:
        """What is done to the token just spoken, or to the prompt's last. With channels, only what goes on with a
        message of these is steered."""
        plan = self.generation.plan
        if plan.channels is not None and self._speech.writing not in plan.channels:
            return () if self.produced else self._everywhere
        first, self._first_is_past = not self._first_is_past, True
        return plan.interventions if first else self._lasting

    def emit(self, event: Event) -> None:
        """Tell the owner, unless cancelled or ended. An owner that raises has cancelled."""
        if self.cancelled or self.ended:
            return
        self.ended = not isinstance(event, Token)
        if self.outbox is None:
            self._tell(event)
        else:
            self.outbox.put(self, event)

    def _tell(self, event: Event) -> None:
        if self.cancelled:
            return
        try:
            self._on_event(event)
        except Exception:
            logger.exception("a listener failed; its answer is cancelled")
            self.cancelled = True

    def hear(self, said: Sequence[int]) -> None:
        """Follow an answer that is made elsewhere, or was: `said` are all of its tokens so far, none of which
        ends it."""
        for token in said[self._heard :]:
            self.accept(token, frozenset(), context_length=self.length + 2)
        self._heard = len(said)

    def accept(
        self, token: int, stops: frozenset[int], context_length: int, likelihood: Likelihood | None = None
    ) -> bool:
        """Take the next token, -1 for none; whether the answer goes on. The end token is no event of its own.

        Whatever goes wrong over what the model wrote ends this answer alone.
        """
        try:
            return self._accept(token, stops, context_length, likelihood)
        except Exception as error:
            logger.exception("an answer can't be told; the others go on")
            self.emit(Failure(ModelFailed(f"what the model wrote can't be told ({type(error).__name__})")))
            return False

    def _accept(self, token: int, stops: frozenset[int], context_length: int, likelihood: Likelihood | None) -> bool:
        if token < 0:
            self.emit(Failure(self._reason_for_none()))
            return False
        if token in stops:
            end = None if likelihood is None else Token(token, "", logprob=likelihood.logprob, top=likelihood.top)
            self.emit(Finish("stop", self.readings, self._speech.rest(), end))
            return False
        self.produced += 1
        self.last_token = token
        said = self._say(token, likelihood)
        self._steered.append(self._next_steering())
        if self.produced == 1 and self.cached:
            said = replace(said, cached=self.cached)
        self.emit(replace(said, readings=self.readings) if self.readings else said)
        if self.produced >= self.generation.sampling.max_tokens or self.length >= context_length:
            self.emit(Finish("length", rest=self._speech.rest()))
        return not (self.ended or self.cancelled)

    def _say(self, token: int, likelihood: Likelihood | None) -> Token:
        in_content = self._speech.writing == "content"
        if self._constraint is not None and self._governed and token != self._speech.opener:
            self._constraint.take(token)
        said = self._speech.add(token)
        untold = token in self.special and not self.generation.raw
        if likelihood is None or not in_content or self._speech.writing != "content" or untold:
            return said
        return replace(said, logprob=likelihood.logprob, top=likelihood.top)

    def _reason_for_none(self) -> EngineError:
        if self._constraint is not None and self._constraint.failed:
            # Asking again would end the same way, so it is the request's fault.
            return Refusal("the answer can't go on so that it follows the schema; simplify it", "json_schema")
        advice = "; try a smaller coefficient" if self.generation.plan.interventions else ""
        return ModelFailed("the model's output is not a number" + advice)


class Outbox:
    """Events of answers on their way to those who wait for them. They are told when it costs the next step nothing:
    whoever is told wakes up, and wants the interpreter."""

    def __init__(self) -> None:
        self._events: deque[tuple[RunningAnswer, Event]] = deque()

    def put(self, answer: RunningAnswer, event: Event) -> None:
        """Take on an event."""
        self._events.append((answer, event))

    def deliver(self) -> None:
        """Tell everybody, in the order the events came."""
        while self._events:
            answer, event = self._events.popleft()
            answer._tell(event)


def steering_of(answer: RunningAnswer, response: Sequence[int]) -> Steering:
    """What an answer's plan does to every token of its prompt and of `response`, had it been generated."""
    answer.hear(response)
    return [answer.steering_at(position) for position in range(answer.length)]
