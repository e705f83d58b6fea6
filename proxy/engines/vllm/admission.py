"""Which requests and plans vLLM takes, as far as we are concerned: asked in the server's process, before a worker sees
them.

A worker can only end at what it does not know, and all requests with it. Knows nothing of vLLM.
"""

import math
from collections.abc import Mapping
from typing import Any, get_args

import msgspec
import numpy as np

from proxy.engines.base import Channel, Intervention, Mode, ModelInfo, Positions
from proxy.engines.checks import check_plan, check_probes
from proxy.engines.errors import Refusal
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.holding import Holding
from proxy.engines.vllm.orders import PLAN
from proxy.engines.vllm.wire import SteerableModel

PREFIX = "persona_"  # of what is ours in a request's extra_args

HOLDINGS: set[Holding] = set()  # of this process's models: who asks them goes through one of these


class NotAdmitted(Exception):
    """A request that must not reach the workers, in a sentence for whoever asked."""


def named(extra: Mapping[str, Any] | None) -> list[str]:
    """What of ours a request names."""
    return [name for name in extra or () if name.startswith(PREFIX)]


def check(extra: Mapping[str, Any] | None) -> None:
    """NotAdmitted for a plan that no model holds for this request, and for anything of ours where there is nobody who
    could have said it."""
    ours = named(extra)
    if not ours or extra is None:
        return
    if not HOLDINGS:
        raise NotAdmitted(f"{ours[0]}: no personas can be asked for here; the plugin's endpoints are not loaded")
    if PLAN in extra and not any(holding.needs(extra[PLAN]) for holding in tuple(HOLDINGS)):
        raise unknown(extra[PLAN])


def unknown(id_: object) -> NotAdmitted:
    """That a plan has to be told first."""
    return NotAdmitted(f"{PLAN}: no plan {str(id_)[:80]} was told to this server, or its room was needed; tell it anew")


def read_plan(data: bytes, model: SteerableModel) -> Directive:
    """What a proxy tells of a plan. Refusal for anything that a worker could fail at."""
    try:
        directive = Directive.from_bytes(data)
        info = ModelInfo("", model.family, model.n_layers, model.hidden_size, 0, model.fingerprint, "vllm", "", "")
        check_plan(directive.plan, info)
        check_probes(directive.probes, info)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refusal(f"this is no plan for this model: {error}") from None
    if not (
        all(_is_sound(item, model.hidden_size) for item in directive.plan.interventions)
        and all(np.isfinite(probe.direction).all() and math.isfinite(probe.offset) for probe in directive.probes)
        and (directive.plan.channels or frozenset()) <= frozenset(get_args(Channel))
    ):
        raise Refusal(
            "this is no plan for this model: it has other modes, positions, channels or numbers than there are"
        )
    return directive


def _is_sound(item: Intervention, hidden: int) -> bool:
    if item.mode not in get_args(Mode) or item.positions not in get_args(Positions):
        return False
    if item.mode == "add":
        return item.vector is not None and item.vector.shape == (hidden,) and bool(np.isfinite(item.vector).all())
    basis, levels = item.basis, item.levels
    if basis is None or levels is None or not len(levels) or basis.shape != (len(levels), hidden):
        return False
    return bool(np.isfinite(basis).all() and np.isfinite(levels).all())
