"""Telling a server of a plan, where that is a vLLM with our plugin: requests then name the plan.

Knows nothing of how servers are chosen.
"""

import httpx

from proxy.engines.errors import UpstreamSilent
from proxy.engines.upstream.asking import SILENT, Lost, Unreached, error_of
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.wire import PLANS_PATH, WEIGHTS


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
