"""vLLM embedded: an event loop on a thread of its own, on which answers are asked for and told token by token.

The model runs in processes that vLLM starts. Knows nothing of text or of how engines are asked for things.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from itertools import count
from typing import Any, TypeVar

import msgspec
from vllm import AsyncEngineArgs, SamplingParams
from vllm.inputs.engine import tokens_input
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Failure, Likelihood
from proxy.engines.errors import EngineClosed, EngineError, ModelFailed
from proxy.engines.gathering import Gatherings
from proxy.engines.vllm import admission
from proxy.engines.vllm.captures import Found
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.holding import Holding
from proxy.engines.vllm.listening import Listening
from proxy.engines.vllm.orders import ANSWER, AT, KEY, PLAN, STEERED, kept

logger = logging.getLogger(__name__)
T = TypeVar("T")

EXTRA_TOP = 16  # likeliest tokens that are asked for besides those wanted: special ones are left out
_LEAST_TOP_P = 1e-6  # vLLM takes no 0


class AnswerHandle:
    """A generation under way."""

    def __init__(self, answer: RunningAnswer, conductor: "Conductor") -> None:
        self._answer = answer
        self._conductor = conductor

    def cancel(self) -> None:
        """End it without a further event. Safe from any thread, and more than once."""
        self._answer.cancel()
        self._conductor.wake(self._answer)


class Conductor:
    """One model's vLLM. `arguments` are AsyncEngineArgs'; raises what vLLM raises over them."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"model {name}", daemon=True)
        self._lock = threading.Lock()  # between handing in and closing
        self._closed = False
        self._tasks: dict[RunningAnswer, asyncio.Task[None]] = {}
        self._gatherings = Gatherings()
        self._keys = count()
        self._stops: frozenset[int] = frozenset()
        self._thread.start()
        try:
            self.facts = self._wait(self._load(arguments))
        except BaseException:
            self._stop()
            raise

    def begin(self, stops: frozenset[int], context_length: int) -> None:
        """Before the first answer: the tokens that end one, and how many there may be with the prompt."""
        self._stops, self._context_length = stops, context_length

    async def _load(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        self.holding = Holding(self._hold, self._release)
        admission.HOLDINGS.add(self.holding)
        facts: dict[str, Any] = (await self._llm.collective_rpc("persona_facts"))[0]
        self._listening = Listening()
        try:
            await self._listening.begin(lambda address: self._llm.collective_rpc("persona_listen", args=(address,)))
            # What a first request has to wait for is not the first client's.
            first = SamplingParams(max_tokens=2, logprobs=1, detokenize=False)
            async for _ in self._llm.generate(tokens_input([0]), first, "first"):
                pass
        except BaseException:
            await self._listening.close()
            raise
        return facts

    async def _hold(self, data: bytes) -> bool | str:
        answers: list[bool | str] = await self._llm.collective_rpc("persona_hold", args=(data,))
        return answers[0]

    async def _release(self, ids: list[str]) -> None:
        await self._llm.collective_rpc("persona_release", args=(ids,))

    def key(self) -> int:
        """A number that nothing else here has."""
        return next(self._keys)

    async def fetch(self, key: int) -> Found:
        """What the workers kept of a text."""
        answers: list[bytes] = await self._llm.collective_rpc("persona_fetch", args=(key,))
        return msgspec.msgpack.decode(answers[0], type=Found)

    def start(self, answer: RunningAnswer) -> AnswerHandle:
        """Run an answer. EngineClosed after `close`."""
        with self._lock:
            if self._closed:
                raise _closed()
            self._loop.call_soon_threadsafe(self._take, answer)
        return AnswerHandle(answer, self)

    def call(self, work: Callable[["Conductor"], Coroutine[Any, Any, T]]) -> T:
        """Do something on the loop, and wait for it. EngineClosed after `close`, ModelFailed where it fails."""
        with self._lock:
            if self._closed:
                raise _closed()
            future = asyncio.run_coroutine_threadsafe(work(self), self._loop)
        try:
            return future.result()
        except EngineError:
            raise
        except asyncio.CancelledError:
            raise _closed() from None
        except Exception as error:
            logger.error("a task on the model failed", exc_info=error)
            raise ModelFailed(f"the model failed while it ran ({type(error).__name__})") from error

    def wake(self, answer: RunningAnswer) -> None:
        """An answer was cancelled."""
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._cancel, answer)

    def close(self) -> None:
        """End everything, and vLLM's processes with it."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wait(self._end())
        self._stop()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result()

    async def _end(self) -> None:
        for answer in self._gatherings.take_all():
            answer.emit(Failure(_closed()))
        for answer, task in self._tasks.items():
            answer.emit(Failure(_closed()))
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._listening.close()
        admission.HOLDINGS.discard(self.holding)
        if (handler := self._llm.output_handler) is not None:
            handler.cancel()  # or it would report that the processes have ended
        await asyncio.to_thread(self._llm.shutdown)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _take(self, answer: RunningAnswer) -> None:
        together = answer.generation.together
        if together is None:
            self._launch(answer)
        else:
            self._gatherings.add(answer, together)
            self._launch_due()

    def _launch_due(self) -> None:
        for answer in self._gatherings.due():
            self._launch(answer)

    def _launch(self, answer: RunningAnswer) -> None:
        if answer.cancelled:
            return
        task = self._loop.create_task(self._answer(answer))
        self._tasks[answer] = task

        def over(_: object) -> None:
            del self._tasks[answer]
            self._launch_due()

        task.add_done_callback(over)

    def _cancel(self, answer: RunningAnswer) -> None:
        if answer in self._tasks:
            self._tasks[answer].cancel()
        self._launch_due()

    async def _answer(self, answer: RunningAnswer) -> None:
        """Tell an answer. Whatever fails ends in a Failure event."""
        try:
            generation = answer.generation
            directive = Directive(generation.plan, generation.probes)
            async with self.holding.held(directive):
                await self._tell(answer, directive)
        except EngineError as error:
            answer.emit(Failure(error))
        except EngineDeadError:
            answer.emit(Failure(ModelFailed("the model failed while it ran: vLLM's processes have ended")))
        except Exception as error:
            logger.exception("an answer failed")
            answer.emit(Failure(ModelFailed(f"the model failed while it ran ({type(error).__name__})")))

    async def _tell(self, answer: RunningAnswer, directive: Directive) -> None:
        key, readings = self._listening.expect()
        n_prompt, probes = len(answer.prompt), directive.probes
        try:
            async with aclosing(self._ask(answer, directive, key)) as outputs:
                async for output in outputs:
                    answer.cached = output.num_cached_tokens or 0
                    [said] = output.outputs
                    for at, token in enumerate(said.token_ids):
                        if probes and answer.produced:
                            values = await readings.at(n_prompt + answer.produced - 1)
                            answer.readings = tuple(it - probe.offset for it, probe in zip(values, probes, strict=True))
                        likely = None if said.logprobs is None else _likelihood(said.logprobs[at], token, answer)
                        possible = _possible(answer, token)
                        if not answer.accept(token if possible else -1, self._stops, self._context_length, likely):
                            return
        finally:
            self._listening.forget(key)

    def _ask(self, answer: RunningAnswer, directive: Directive, key: int) -> Any:
        extra: dict[str, Any] = orders(directive, len(answer.prompt) - 1, key)
        if (told := kept(answer.generation)) is not None:
            extra[ANSWER] = told
        return self.ask(answer.prompt, directive, self._sampling(answer, extra))

    def ask(self, prompt: list[int], directive: Directive, params: SamplingParams) -> Any:
        """vLLM's outputs. Prompts share what is kept of their beginnings where plans do the same to it."""
        tokens = tokens_input(prompt, cache_salt=directive.salt)
        return self._llm.generate(tokens, params, f"{os.getpid()}-{next(self._keys)}")

    def _sampling(self, answer: RunningAnswer, extra: dict[str, Any]) -> SamplingParams:
        rules = answer.generation.sampling
        n_top = rules.top_logprobs
        return SamplingParams(
            max_tokens=min(rules.max_tokens, self._context_length - len(answer.prompt)),
            temperature=rules.temperature,
            top_p=max(rules.top_p, _LEAST_TOP_P),
            top_k=rules.top_k,
            min_p=rules.min_p,
            frequency_penalty=rules.frequency_penalty,
            presence_penalty=rules.presence_penalty,
            repetition_penalty=rules.repetition_penalty,
            logit_bias=dict(rules.logit_bias) or None,
            seed=None if rules.seed is None else rules.seed % 2**63,
            logprobs=n_top + min(len(answer.special), EXTRA_TOP) if n_top else n_top,
            stop_token_ids=sorted(self._stops),
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            extra_args=extra or None,
        )


def orders(directive: Directive, last: int, key: int | None = None) -> dict[str, Any]:
    """What a request says of a directive; `last` is where its prompt's last token is."""
    if directive.empty:
        return {}
    found: dict[str, Any] = {PLAN: directive.id, AT: last}
    if key is not None and directive.probes:
        found[KEY] = key
    if directive.plan.interventions:
        found[STEERED] = True
    return found


def _possible(answer: RunningAnswer, token: int) -> bool:
    """Whether an answer's rules allow a token: where they allow none, the workers draw one all the same."""
    allowed = answer.allowed() if answer.constrained else None
    return allowed is None or bool(allowed[token])


def _likelihood(found: Mapping[int, Any], token: int, answer: RunningAnswer) -> Likelihood:
    n_top = answer.generation.sampling.top_logprobs or 0
    likely = sorted(
        ((id_, it.logprob) for id_, it in found.items() if id_ not in answer.special), key=lambda it: (-it[1], it[0])
    )
    return Likelihood(found[token].logprob, tuple(likely[:n_top]))


def _closed() -> EngineClosed:
    return EngineClosed("the model was shut down")
