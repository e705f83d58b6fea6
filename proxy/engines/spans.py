"""Where a span of a rollout lies among its tokens."""

from proxy.engines.base import Rollout, Span


def bounds(rollout: Rollout, span: Span) -> tuple[int, int]:
    """The first token of a span, counted from the prompt's first, and the one after its last."""
    begin = len(rollout.prompt)
    return (begin - 1, begin) if span == "last_prompt" else (begin, begin + len(rollout.response))
