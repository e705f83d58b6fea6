"""The plugin of vLLM's own server, for proxies that stand before it: they tell it plans, which requests then name.

vLLM loads it by its entry point, where VLLM_PLUGINS names it. What is done to a request lies in the plan, so that all
else that it says of us is refused, and what keeps its tokens from others is added here: no client can leave it out.
"""

import asyncio
import copy
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from vllm.exceptions import VLLMValidationError

from proxy.engines.errors import Refusal
from proxy.engines.transformers import loading
from proxy.engines.vllm import admission
from proxy.engines.vllm.holding import Holding
from proxy.engines.vllm.orders import PLAN, STEERED
from proxy.engines.vllm.plugin import wanted
from proxy.engines.vllm.wire import MODEL_PATH, PLANS_PATH, WEIGHTS, SteerableModel

MAX_PLAN = 64 * 2**20  # bytes


class PersonaEndpoints:
    """As vLLM's EndpointPlugin wants it."""

    name = "persona"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._model: SteerableModel | None = None
        self._holding: Holding | None = None

    def attach_router(self, app: Any) -> None:
        """vLLM is making its server."""
        app.add_route(f"/v1{MODEL_PATH}", self._tell_model, methods=["GET"])
        app.add_route(f"/v1{PLANS_PATH}", self._learn_plan, methods=["POST"])

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

        self._holding = Holding(hold, release)
        admission.HOLDINGS.add(self._holding)
        engine_client.generate = admitting(engine_client.generate, self._holding)

    async def _tell_model(self, request: Request) -> Response:
        if self._model is None:
            return _error(404, "this vLLM was started without personas; see the manual of persona-steering-proxy")
        return _json(200, self._model)

    async def _learn_plan(self, request: Request) -> Response:
        """Blocks while there is no room for it."""
        if self._model is None or self._holding is None:
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
            await self._holding.learn(directive)
        except Refusal as error:
            return _error(400, error.message)
        return _json(200, {"id": directive.id})


def admitting(
    generate: Callable[..., AsyncGenerator[Any, None]], holding: Holding
) -> Callable[..., AsyncGenerator[Any, None]]:
    """vLLM's `generate`, for requests that may name a plan: it is held as long as its request runs."""

    def generate_(prompt: Any, sampling_params: Any, request_id: str, **more: Any) -> AsyncGenerator[Any, None]:
        if not admission.named(sampling_params.extra_args):
            return generate(prompt, sampling_params, request_id, **more)
        return steered(prompt, sampling_params, request_id, **more)

    async def steered(prompt: Any, sampling_params: Any, request_id: str, **more: Any) -> AsyncGenerator[Any, None]:
        extra: dict[str, Any] = sampling_params.extra_args
        id_ = extra.get(PLAN)
        strange = [name for name in admission.named(extra) if name != PLAN]
        if strange or not isinstance(id_, str):
            raise _refused(f"vllm_xargs: {(strange or [PLAN])[0]} can't be asked for; possible: {PLAN}, a plan's id")
        if not isinstance(prompt, dict) or "prompt_token_ids" not in prompt:
            raise _refused(f"{PLAN}: only prompts of tokens can be steered")
        with ExitStack() as meanwhile:
            try:
                directive = meanwhile.enter_context(holding.needed(id_))
            except KeyError:
                raise _refused(str(admission.unknown(id_))) from None
            params = copy.copy(sampling_params)
            params.extra_args = {**extra, STEERED: True}
            salts = [salt for salt in (directive.salt, prompt.get("cache_salt")) if salt]
            salted = {**prompt, "cache_salt": " ".join(salts)} if salts else prompt
            async with aclosing(generate(salted, params, request_id, **more)) as outputs:
                async for output in outputs:
                    yield output

    return generate_


def _refused(message: str) -> VLLMValidationError:
    return VLLMValidationError(message, parameter=PLAN)


def _json(status: int, body: Any) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _error(status: int, message: str, param: str | None = None) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": status}
    return _json(status, {"error": error})
