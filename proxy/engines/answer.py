"""One answer being made, whatever engine makes it: what it says so far, when it ends, and whom it tells.

Knows nothing of models, batches or threads; it lives on its engine's worker thread, except for `cancel`.
"""

import logging
from collections.abc import Callable

from proxy.engines.base import Event, Failure, Finish, Generation, Intervention, Token
from proxy.engines.speech import Speech
from proxy.errors import EngineFailure

logger = logging.getLogger(__name__)


class Answer:
    """One generation under way; also the handle its owner cancels it by."""

    def __init__(self, generation: Generation, on_event: Callable[[Event], None], speech: Speech) -> None:
        self.generation = generation
        self.prompt = list(generation.prompt)
        self.cancelled = False
        self.ended = False
        self.produced = 0
        self.last_token = -1
        self._on_event = on_event
        self._speech = speech
        plan = generation.plan.interventions
        self._everywhere = tuple(item for item in plan if item.positions == "all")
        self._lasting = tuple(item for item in plan if item.positions != "last_prompt")

    def cancel(self) -> None:
        """See Run.cancel."""
        self.cancelled = True

    @property
    def length(self) -> int:
        """Tokens so far, prompt and answer."""
        return len(self.prompt) + self.produced

    def steering_at(self, position: int) -> tuple[Intervention, ...]:
        """What the plan does to the token at `position`, counted from the prompt's first."""
        last = len(self.prompt) - 1
        if position < last:
            return self._everywhere
        return self.generation.plan.interventions if position == last else self._lasting

    def emit(self, event: Event) -> None:
        """Tell the owner, unless cancelled or ended. An owner that raises has cancelled."""
        if self.cancelled or self.ended:
            return
        self.ended = not isinstance(event, Token)
        try:
            self._on_event(event)
        except Exception:
            logger.exception("a listener failed; its answer is cancelled")
            self.cancelled = True

    def accept(self, token: int, stops: frozenset[int], context_length: int) -> bool:
        """Take the next token, -1 for none; whether the answer goes on. The end token is no event of its own."""
        if token < 0:
            advice = "; try a smaller coefficient" if self.generation.plan.interventions else ""
            self.emit(Failure(EngineFailure("the model's output is not a number" + advice)))
            return False
        if token in stops:
            self.emit(Finish("stop"))
            return False
        self.produced += 1
        self.last_token = token
        text, channel = self._speech.add(token)
        self.emit(Token(token, text, channel))
        if self.produced >= self.generation.sampling.max_tokens or self.length >= context_length:
            self.emit(Finish("length"))
        return not (self.ended or self.cancelled)
