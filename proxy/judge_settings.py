"""What an operator says of an endpoint that judges answers, and what else may judge. Knows nothing of judging."""

from typing import Annotated

import msgspec
from msgspec import Meta

JUDGE_KINDS = ("rules", "likelihood", "reading", "model")  # what a judge may be, besides an endpoint or another model


class JudgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An OpenAI-compatible endpoint that judges answers."""

    name: Annotated[str, Meta(pattern=r"^[^\s,=]+$", description="What it is asked for by, without spaces")]
    base_url: Annotated[
        str,
        Meta(
            pattern=r"^https?://[^\s@]+$",
            description="Where its API is, without a key in it, e.g. `https://api.openai.com/v1`",
        ),
    ]
    model: Annotated[str, Meta(min_length=1, description="Its model")]
    key_env: Annotated[
        Annotated[str, Meta(pattern=r"^\w+$")] | None,
        Meta(description="The environment variable that holds its key; by default it gets none"),
    ] = None
