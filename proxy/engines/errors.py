"""What engines raise, in their own terms: who talks to a client says which field of the request that is about.

EngineError
├── Refusal              it can't be done as it was asked for, and never could be; `part` is what it is about
│   ├── PromptTooLong    prompt and answer are longer than the model's context
│   ├── PromptTooLarge   the machine has no memory for it, not even alone
│   └── UpstreamRefusal  the server that the model runs on says so, in its own terms
├── MemoryFull           there is no memory for it beside the others; later there may be
├── ModelFailed          the model failed while it ran
├── UpstreamFailure      the server that the model runs on failed, or can't be understood
├── UpstreamSilent       the server that the model runs on said nothing for too long
├── UpstreamBusy         the servers that the model runs on take nothing more at present
├── NoUpstream           none of the servers that the model runs on can be asked at present
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


class UpstreamRefusal(Refusal):
    """`param` and `code` are the other server's words, where it gave any."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class MemoryFull(EngineError):
    pass


class ModelFailed(EngineError):
    pass


class UpstreamFailure(EngineError):
    pass


class UpstreamSilent(EngineError):
    pass


class _Later(EngineError):
    """`retry_after_s`: when to ask again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UpstreamBusy(_Later):
    pass


class NoUpstream(_Later):
    pass


class EngineClosed(EngineError):
    pass
