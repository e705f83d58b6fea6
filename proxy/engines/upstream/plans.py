"""Telling a server of a plan, where that is a vLLM with our plugin, and asking it for what the plan's probes read:
requests name the plan, and what is read of their answers.

Knows nothing of how servers are chosen.
"""

import logging
from collections.abc import Sequence

import httpx
import msgspec

from proxy.engines.base import Probe, ReadToken
from proxy.engines.errors import UpstreamSilent
from proxy.engines.upstream.asking import SILENT, Lost, Unreached, error_of
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.wire import PLANS_PATH, READINGS_PATH, WEIGHTS, ReadAnswer

logger = logging.getLogger(__name__)

READINGS_S = 30.0  # to wait for them, while the answer's client waits for its end


class Changed(Exception):
    """The server has other weights than the plan was made for, or can't be steered any more."""


async def tell_plan(client: httpx.AsyncClient, url: str, directive: Directive, weights: str) -> None:
    """Have a server know a plan; waits while there is no room for it there. Changed, Unreached, Lost, TurnedAway, or an
    EngineError in words for a client."""
    try:
        response = await client.post(
            f"{url}{PLANS_PATH}",
            params={WEIGHTS: weights},
            content=directive.to_bytes(),
            headers={"content-type": "application/octet-stream"},
        )
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Unreached from error
    except httpx.TimeoutException:
        raise UpstreamSilent(SILENT) from None
    except httpx.HTTPError as error:
        raise Lost from error
    if response.status_code in (404, 409):
        raise Changed
    if response.status_code != 200:
        raise await error_of(response)


async def fetch_readings(
    client: httpx.AsyncClient, url: str, name: str, probes: Sequence[Probe]
) -> tuple[ReadToken, ...]:
    """What a server has read of an answer that has ended. The log tells where it can't be had: the answer is complete
    without."""
    try:
        response = await client.get(f"{url}{READINGS_PATH}/{name}", timeout=READINGS_S)
        if response.status_code == 200:
            answer = msgspec.json.decode(response.content, type=ReadAnswer)
            offsets = [probe.offset for probe in probes]
            return tuple(
                ReadToken(text, tuple(value - offset for value, offset in zip(values, offsets, strict=True)))
                for text, values in answer.tokens
            )
        problem = f"it answered {response.status_code}"
    except (httpx.HTTPError, msgspec.MsgspecError, ValueError) as error:
        problem = type(error).__name__
    logger.warning("%s: what was read of an answer can't be had: %s", url, problem)
    return ()
