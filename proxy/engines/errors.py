"""What engines raise, in their own terms: who talks to a client says which field of the request that is about.

EngineError
├── Refusal              it can't be done as it was asked for, and never could be; `part` is what it is about
│   ├── PromptTooLong    prompt and answer are longer than the model's context
│   └── PromptTooLarge   the machine has no memory for it, not even alone
├── MemoryFull           there is no memory for it beside the others; later there may be
├── ModelFailed          the model failed while it ran
└── EngineClosed         the engine was shut down

What is wrong with a model or a machine before an engine is there is the operator's: proxy.errors.SetupError.
"""

from typing import Literal

Part = Literal["prompt", "begun", "logit_bias", "channels", "json_schema", "calls"]


class EngineError(Exception):
    """Base of all; `message` is a sentence for whoever asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refusal(EngineError):
    """`part` is None where it is about no part of the request alone."""

    def __init__(self, message: str, part: Part | None = None) -> None:
        super().__init__(message)
        self.part = part


class PromptTooLong(Refusal):
    """About the prompt."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "prompt")


class PromptTooLarge(Refusal):
    """About the prompt."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "prompt")


class MemoryFull(EngineError):
    pass


class ModelFailed(EngineError):
    pass


class EngineClosed(EngineError):
    pass
