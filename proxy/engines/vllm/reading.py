"""Engine's tasks besides answering, as requests to vLLM: each text is a prompt, whose residuals or log-probabilities
are wanted.

Each is a coroutine on the conductor's loop.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
import numpy as np
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from proxy.engines.base import (
    AnswerReadings,
    FloatArray,
    Generation,
    Likelihood,
    Plan,
    Rollout,
    Sampling,
    Span,
    SpanStats,
)
from proxy.engines.spans import bounds
from proxy.engines.vllm.captures import CAPTURE, CaptureOrder, Found
from proxy.engines.vllm.conductor import Conductor, orders
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.orders import ANSWER, kept

AT_ONCE = 64  # texts, so that vLLM always has some waiting
MOST_IDS = 128  # whose log-probabilities vLLM tells without those of all

Progress = Callable[[int], None] | None
T = TypeVar("T")


async def _each(work: Sequence[Coroutine[Any, Any, T]], progress: Progress) -> list[T]:
    """All results, in order."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(each: Coroutine[Any, Any, T]) -> T:
        async with room:
            result = await each
        if progress is not None:
            progress(1)
        return result

    return await asyncio.gather(*(one(each) for each in work))


async def _run(
    conductor: Conductor,
    text: Sequence[int],
    *,
    directive: Directive | None = None,
    last: int = 0,
    extra: dict[str, Any] | None = None,
    **params: Any,
) -> Any:
    """vLLM's output for a text, all of whose tokens are run."""
    directive = directive or Directive(Plan())
    asked = SamplingParams(
        max_tokens=1,
        temperature=0,
        ignore_eos=True,
        detokenize=False,
        skip_reading_prefix_cache=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
        extra_args={**orders(directive, last), **(extra or {})} or None,
        **params,
    )
    async with conductor.holding.held(directive), aclosing(conductor.ask(list(text), directive, asked)) as outputs:
        return [output async for output in outputs][-1]


async def _captured(conductor: Conductor, rollout: Rollout, wanted: CaptureOrder, **params: Any) -> tuple[Found, Any]:
    extra = {CAPTURE: msgspec.json.encode(wanted).decode()}
    output = await _run(conductor, _text(rollout), extra=extra, **params)
    return await conductor.fetch(wanted.key), output


def _text(rollout: Rollout) -> list[int]:
    return [*rollout.prompt, *rollout.response]


def _floats(data: bytes, *shape: int) -> FloatArray:
    return np.frombuffer(data, np.float32).reshape(shape)


async def capture(
    conductor: Conductor,
    rollouts: Sequence[Rollout],
    spans: Sequence[Span],
    n_blocks: int,
    hidden: int,
    progress: Progress,
) -> dict[Span, SpanStats]:
    """Engine.capture."""

    async def one(rollout: Rollout) -> Found:
        wanted = CaptureOrder(conductor.key(), [bounds(rollout, span) for span in spans], list(range(n_blocks)))
        return (await _captured(conductor, rollout, wanted))[0]

    found = await _each([one(rollout) for rollout in rollouts], progress)
    means = [_floats(it.values, len(spans), n_blocks, hidden) for it in found]
    norms = [_floats(it.norms, len(spans), n_blocks) for it in found]
    return {
        span: SpanStats(
            np.array([it[at] for it in means], np.float32).reshape(-1, n_blocks, hidden),
            np.array([it[at] for it in norms], np.float32).reshape(-1, n_blocks),
        )
        for at, span in enumerate(spans)
    }


async def capture_tokens(
    conductor: Conductor, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int], hidden: int
) -> list[FloatArray]:
    """Engine.capture_tokens."""

    async def one(rollout: Rollout) -> FloatArray:
        wanted = CaptureOrder(conductor.key(), [bounds(rollout, span)], list(blocks), whole=True)
        return _floats((await _captured(conductor, rollout, wanted))[0].values, -1, len(blocks), hidden)

    return await _each([one(rollout) for rollout in rollouts], None)


async def read(
    conductor: Conductor, rollouts: Sequence[Rollout], blocks: Sequence[int], hidden: int, progress: Progress
) -> AnswerReadings:
    """Engine.read."""

    async def one(rollout: Rollout) -> tuple[FloatArray, FloatArray]:
        wanted = CaptureOrder(conductor.key(), [bounds(rollout, "response")], list(blocks))
        found, output = await _captured(conductor, rollout, wanted, prompt_logprobs=0)
        return _floats(found.values, len(blocks), hidden), _response_logprobs(rollout, output)

    found = await _each([one(rollout) for rollout in rollouts], progress)
    means = np.array([mean for mean, _ in found], np.float32).reshape(-1, len(blocks), hidden)
    return AnswerReadings(means, [logprobs for _, logprobs in found])


async def score(
    conductor: Conductor, rollouts: Sequence[Rollout], plans: Sequence[Plan], progress: Progress
) -> list[FloatArray]:
    """Engine.score."""

    async def one(rollout: Rollout, plan: Plan) -> FloatArray:
        told = kept(Generation(rollout.prompt, Sampling(1), plan))
        output = await _run(
            conductor,
            _text(rollout),
            directive=Directive(plan),
            last=len(rollout.prompt) - 1,
            extra={} if told is None else {ANSWER: told},
            prompt_logprobs=0,
        )
        return _response_logprobs(rollout, output)

    return await _each([one(rollout, plan) for rollout, plan in zip(rollouts, plans, strict=True)], progress)


def _response_logprobs(rollout: Rollout, output: Any) -> FloatArray:
    begin = len(rollout.prompt)
    found = output.prompt_logprobs[begin : begin + len(rollout.response)]
    return np.array([it[token].logprob for it, token in zip(found, rollout.response, strict=True)], np.float32)


async def likelihoods(
    conductor: Conductor,
    texts: Sequence[Sequence[int]],
    plans: Sequence[Plan],
    n_top: int,
    given_up: Callable[[], bool],
) -> list[list[Likelihood]]:
    """Engine.likelihoods."""

    async def one(text: Sequence[int], plan: Plan) -> list[Likelihood]:
        if given_up():
            return []
        everywhere = Plan(tuple(item for item in plan.interventions if item.positions == "all"))
        # The prompt's last token is told to lie behind the text, all of which comes before it.
        output = await _run(conductor, text, directive=Directive(everywhere), last=len(text), prompt_logprobs=n_top)
        return [_likelihood(it, token, n_top) for it, token in zip(output.prompt_logprobs[1:], text[1:], strict=True)]

    return await _each([one(text, plan) for text, plan in zip(texts, plans, strict=True)], None)


def _likelihood(found: Any, token: int, n_top: int) -> Likelihood:
    likely = sorted(((id_, it.logprob) for id_, it in found.items()), key=lambda it: (-it[1], it[0]))
    return Likelihood(found[token].logprob, tuple(likely[:n_top]))


async def next_token_logprobs(
    conductor: Conductor, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]
) -> FloatArray:
    """Engine.next_token_logprobs."""
    ids = list(dict.fromkeys(token_ids))
    wanted: dict[str, Any] = {"logprob_token_ids": ids} if 0 < len(ids) <= MOST_IDS else {"logprobs": -1}

    async def one(prompt: Sequence[int]) -> list[float]:
        output = await _run(conductor, prompt, **wanted)
        found = output.outputs[0].logprobs[0]
        return [found[token].logprob for token in token_ids]

    return np.array(await _each([one(prompt) for prompt in prompts], None), np.float32).reshape(-1, len(token_ids))
