"""What a request to vLLM says of us: plain entries of its `extra_args`, never tensors and never paths.

Knows nothing of vLLM.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from proxy.engines.base import CallRules, Generation, Plan, Sampling

OPTIONS = "persona"  # in vLLM's additional_config, without which nothing is steered: {"slots": ..., "directives": ...}
PLAN = "persona_plan"  # a directive's id
AT = "persona_at"  # where the prompt's last token is, which may be before the end of what vLLM takes for the prompt
STEERED = "persona_steered"  # there where the directive steers
KEY = "persona_key"  # under which readings are told
READ = "persona_read"  # from a proxy: the name under which it will ask for what is read of the answer
RAW = "persona_raw"  # from a proxy: there where the prompt is a raw text
ANSWER = "persona_answer"  # what the answer is kept to, and how it is read; there where the workers have to know


class _Kept(msgspec.Struct, omit_defaults=True):
    schema: str | None = None
    calls: CallRules | None = None
    begun: int = 0
    raw: bool = False


def kept(generation: Generation) -> str | None:
    """What the workers have to know of an answer that is kept to rules, or steered in some of its channels."""
    schema, calls = generation.sampling.json_schema, generation.calls
    if schema is None and calls is None and generation.plan.channels is None:
        return None
    return msgspec.json.encode(_Kept(schema, calls, generation.begun, generation.raw)).decode()


def generation_of(extra: Mapping[str, Any], prompt: list[int], plan: Plan | None = None) -> Generation:
    """The generation that a request is for, as far as its workers know it."""
    told = msgspec.json.decode(extra[ANSWER], type=_Kept) if ANSWER in extra else _Kept()
    sampling = Sampling(max_tokens=2**31, json_schema=told.schema)
    found = Generation(prompt, sampling, calls=told.calls, begun=told.begun, raw=told.raw)
    return found if plan is None else replace(found, plan=plan)
