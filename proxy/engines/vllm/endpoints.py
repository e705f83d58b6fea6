"""The plugin of vLLM's own server, for proxies that stand before it: they tell it plans, which requests then name, and
ask it for what these plans read.

vLLM loads it by its entry point, where VLLM_PLUGINS names it. What is done to a request lies in the plan, so that all
else that it says of us is refused, and what keeps its tokens from others is added here: no client can leave it out.
"""

import asyncio
import copy
import logging
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from vllm.exceptions import VLLMValidationError

from proxy.engines.base import NO_LIMIT, Generation, Sampling
from proxy.engines.errors import Refusal
from proxy.engines.speaking import answer_of
from proxy.engines.transformers import loading
from proxy.engines.transformers.text import Tokenizing
from proxy.engines.vllm import admission
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.holding import Holding
from proxy.engines.vllm.listening import Listening
from proxy.engines.vllm.orders import ANSWER, KEY, PLAN, RAW, READ, STEERED, kept
from proxy.engines.vllm.plugin import wanted
from proxy.engines.vllm.reading_along import MakeAnswer, ReadAnswers, reading_along
from proxy.engines.vllm.wire import MODEL_PATH, NO_CHANNEL, PLANS_PATH, READINGS_PATH, WEIGHTS, SteerableModel

logger = logging.getLogger(__name__)

MAX_PLAN = 64 * 2**20  # bytes
MAX_NAME = 64  # characters of what an answer's readings are kept under


class PersonaEndpoints:
    """As vLLM's EndpointPlugin wants it."""

    name = "persona"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._model: SteerableModel | None = None
        self._admitting: Admitting | None = None
        self._read = ReadAnswers()

    def attach_router(self, app: Any) -> None:
        """vLLM is making its server."""
        app.add_route(f"/v1{MODEL_PATH}", self._tell_model, methods=["GET"])
        app.add_route(f"/v1{PLANS_PATH}", self._learn_plan, methods=["POST"])
        app.add_route(f"/v1{READINGS_PATH}/{{name}}", self._tell_readings, methods=["GET"])

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """The model is loaded. RuntimeError for a server of several processes, of which one alone would know a plan."""
        config = None if engine_client is None else engine_client.vllm_config
        if config is None or not wanted(config):
            return
        if (getattr(args, "api_server_count", None) or 1) > 1 or config.parallel_config.data_parallel_size > 1:
            raise RuntimeError(
                "personas can't be steered with several API servers or data parallelism in one vLLM; start several "
                "servers instead, and name all of them to the proxy"
            )
        [facts, *_] = await engine_client.collective_rpc("persona_facts")
        folder = await asyncio.to_thread(loading.resolve_folder, config.model_config.model)
        model_config = config.model_config.hf_config
        self._model = SteerableModel(
            model_config.model_type,
            facts["n_blocks"],
            facts["hidden"],
            await asyncio.to_thread(loading.weights_fingerprint, folder),
            getattr(model_config, "persona_world", None),
        )

        async def hold(data: bytes) -> bool | str:
            answers: list[bool | str] = await engine_client.collective_rpc("persona_hold", args=(data,))
            return answers[0]

        async def release(ids: list[str]) -> None:
            await engine_client.collective_rpc("persona_release", args=(ids,))

        holding = Holding(hold, release)
        admission.HOLDINGS.add(holding)
        text = await asyncio.to_thread(_tokenizing, config.model_config)
        listening = Listening()
        await listening.begin(lambda address: engine_client.collective_rpc("persona_listen", args=(address,)))
        self._admitting = Admitting(engine_client.generate, holding, text, listening, self._read)
        engine_client.generate = self._admitting

    async def _tell_model(self, request: Request) -> Response:
        if self._model is None:
            return _error(404, "this vLLM was started without personas; see the manual of persona-steering-proxy")
        return _json(200, self._model)

    async def _learn_plan(self, request: Request) -> Response:
        """Blocks while there is no room for it."""
        if self._model is None or self._admitting is None:
            return _error(404, "this vLLM was started without personas; see the manual of persona-steering-proxy")
        if request.query_params.get(WEIGHTS) != self._model.fingerprint:
            return _error(409, f"{WEIGHTS}: the plan was made for other weights than those of this model", WEIGHTS)
        data = b""
        async for part in request.stream():
            data += part
            if len(data) > MAX_PLAN:
                return _error(413, f"a plan has at most {MAX_PLAN} bytes")
        try:
            directive = admission.read_plan(data, self._model)
            self._admitting.follow(directive, [0])  # here, since the refusal of a stream comes with a status of 200
            await self._admitting.holding.learn(directive)
        except Refusal as error:
            return _error(400, error.message, NO_CHANNEL if error.part == "channels" else None)
        return _json(200, {"id": directive.id})

    async def _tell_readings(self, request: Request) -> Response:
        """Once."""
        answer = self._read.take(request.path_params["name"])
        if answer is None:
            return _error(404, "nothing is kept of such an answer: it was asked for before, or not in time")
        return _json(200, answer)


@dataclass(frozen=True)
class Admitting:
    """vLLM's `generate`, for requests that may name a plan: it is held as long as its request runs, and what its probes
    read is kept where the request gives that a name."""

    generate: Callable[..., AsyncGenerator[Any, None]]
    holding: Holding
    text: Tokenizing
    listening: Listening
    read: ReadAnswers

    def __call__(self, prompt: Any, sampling_params: Any, request_id: str, **more: Any) -> AsyncGenerator[Any, None]:
        if not admission.named(sampling_params.extra_args):
            return self.generate(prompt, sampling_params, request_id, **more)
        return self._steered(prompt, sampling_params, request_id, **more)

    async def _steered(
        self, prompt: Any, sampling_params: Any, request_id: str, **more: Any
    ) -> AsyncGenerator[Any, None]:
        _check(prompt, sampling_params)
        extra: dict[str, Any] = sampling_params.extra_args
        name = extra.get(READ)
        with ExitStack() as meanwhile:
            try:
                directive = meanwhile.enter_context(self.holding.needed(extra[PLAN]))
            except KeyError:
                raise _refused(str(admission.unknown(extra[PLAN]))) from None
            try:
                make = self.follow(directive, prompt["prompt_token_ids"], raw=RAW in extra)
            except Refusal as error:
                raise _refused(error.message, NO_CHANNEL) from None
            params = copy.copy(sampling_params)
            params.extra_args = _extra(directive, extra)
            along = None
            if directive.probes and name is not None:
                n_prompt = len(prompt["prompt_token_ids"])
                params.extra_args[KEY], along = meanwhile.enter_context(reading_along(make, self.listening, n_prompt))
            salts = [salt for salt in (directive.salt, prompt.get("cache_salt")) if salt]
            salted = {**prompt, "cache_salt": " ".join(salts)} if salts else prompt
            async with aclosing(self.generate(salted, params, request_id, **more)) as outputs:
                async for output in outputs:
                    if along is not None:
                        along.hear(output.outputs[0].token_ids)
                    yield output
            if along is not None:
                try:
                    self.read.keep(str(name), await along.read())
                except TimeoutError:
                    logger.warning("what was read of an answer did not come")

    def follow(self, directive: Directive, prompt: list[int], *, raw: bool = False) -> MakeAnswer:
        """Makes the answer that a request is to become, as the workers do. Refusal for channels that the model does not
        have, at which they would fail."""
        generation = Generation(prompt, Sampling(NO_LIMIT), directive.plan, raw=raw)
        make: MakeAnswer = partial(answer_of, generation, self.text.speaker, self.text.lexicon)
        if directive.plan.channels is not None:
            make(lambda event: None)
        return make


def _check(prompt: Any, params: Any) -> None:
    """VLLMValidationError for what only the server itself may say of a request, and for what can't be steered."""
    extra: dict[str, Any] = params.extra_args
    strange = [name for name in admission.named(extra) if name not in (PLAN, READ, RAW)]
    if strange or not isinstance(extra.get(PLAN), str):
        raise _refused(f"vllm_xargs: {(strange or [PLAN])[0]} can't be asked for; possible: {PLAN}, a plan's id")
    if not isinstance(prompt, dict) or "prompt_token_ids" not in prompt:
        raise _refused(f"{PLAN}: only prompts of tokens can be steered")
    if READ in extra and not (isinstance(extra[READ], str) and len(extra[READ]) <= MAX_NAME and params.n == 1):
        raise _refused(f"{READ}: a name of at most {MAX_NAME} characters, for one answer; n must be 1")


def _extra(directive: Directive, extra: dict[str, Any]) -> dict[str, Any]:
    """What the workers are told."""
    found = {name: value for name, value in extra.items() if name not in (READ, RAW)}
    if directive.plan.interventions:
        found[STEERED] = True
    told = kept(Generation((), Sampling(NO_LIMIT), directive.plan, raw=RAW in extra))
    return found if told is None else {**found, ANSWER: told}


def _tokenizing(config: Any) -> Tokenizing:
    return Tokenizing(loading.load_tokenizer(loading.resolve_folder(config.tokenizer)), config.get_vocab_size(), ())


def _refused(message: str, parameter: str = PLAN) -> VLLMValidationError:
    return VLLMValidationError(message, parameter=parameter)


def _json(status: int, body: Any) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _error(status: int, message: str, param: str | None = None) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": status}
    return _json(status, {"error": error})
