"""What a judge's name means: a kind of judge, a model, or an endpoint that the operator set up.

Knows nothing of how judges score.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import msgspec

from proxy.engines.base import Engine
from proxy.engines.lease import Lease
from proxy.engines.registry import Registry
from proxy.errors import InvalidRequest, SetupError
from proxy.judge_settings import JUDGE_KINDS, JudgeSettings
from proxy.settings import Settings
from proxy.steering.judge import JudgeKind, ModelJudge

KEY_VARIABLE = "JUDGE_API_KEY"  # of an endpoint that is named by its address
CHECKED_EVERY_S = 0.2  # while a model that is to judge is loaded
Check = Callable[[], None]
Lender = Callable[[str, Check], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class Judges:
    """The judges that may be asked for by name. `lend` lends one of the `models` by its id, loaded, and calls what it
    is given every now and then while it waits."""

    endpoints: Sequence[JudgeSettings]
    models: Sequence[str]
    lend: Lender

    def check(self, name: str | None, field: str = "judge") -> None:
        """InvalidRequest, naming the field, for a name that no judge has; None is the usual judge."""
        names = [*JUDGE_KINDS, *(endpoint.name for endpoint in self.endpoints), *self.models]
        if name is not None and name not in names:
            raise InvalidRequest(f"{field}: there is no judge {name!r}; possible: {', '.join(names)}", param=field)

    @contextmanager
    def opened(self, name: str | None, engine: Engine, check: Check) -> Iterator[JudgeKind | None]:
        """The judge of this name for answers of `engine`, None for the usual one; a model is given back in the end.
        InvalidRequest as in `check`, SetupError where it can't judge, and whatever the lender and `check` raise."""
        self.check(name)
        endpoint = next((endpoint for endpoint in self.endpoints if endpoint.name == name), None)
        if endpoint is not None:
            from proxy.steering.judge.endpoint import EndpointJudge  # httpx, which it needs, takes long to import

            yield EndpointJudge(endpoint)
        elif name is None or name in JUDGE_KINDS:
            yield name
        elif name == engine.info.id:
            yield "model"
        else:
            with self.lend(name, check) as other:
                yield ModelJudge(other)


def served_judges(endpoints: Sequence[JudgeSettings], registry: Registry) -> Judges:
    """The judges of a server: the registry's models are held while they judge."""

    @contextmanager
    def lend(model_id: str, check: Check) -> Iterator[Engine]:
        hold = registry.load(model_id)
        try:
            yield asyncio.run(_loaded(hold, check))
        finally:
            hold.release()

    return Judges(endpoints, [state.id for state in registry.models()], lend)


def judges_of_command(name: str | None, settings: Settings, lend: Lender, second: str | None = None) -> Judges:
    """The judges of a command, which lends models by `lend`: names as on a server, and where `name`, what `--judge`
    says, or `second`, what `--second-judge` says, is MODEL@URL, that endpoint. SetupError for a name that no judge
    has."""
    addressed = [endpoint_at(each) for each in (name, second) if each is not None and "@" in each]
    judges = Judges([*addressed, *settings.judges], [model.id for model in settings.models], lend)
    try:
        judges.check(name)
        judges.check(second, "second-judge")
    except InvalidRequest as error:
        raise SetupError(f"--{error.message}, MODEL@URL") from None
    return judges


def endpoint_at(text: str) -> JudgeSettings:
    """The endpoint meant by MODEL@URL, with its key in `KEY_VARIABLE` if that is set. SetupError."""
    model, _, url = text.rpartition("@")
    key_env = KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None
    try:
        return msgspec.convert({"name": text, "base_url": url, "model": model, "key_env": key_env}, JudgeSettings)
    except msgspec.ValidationError:
        raise SetupError(f"--judge: {text!r} is not MODEL@URL, such as gpt-4o@https://api.openai.com/v1") from None


async def _loaded(hold: Lease, check: Check) -> Engine:
    loading = asyncio.ensure_future(hold.loaded())
    while not loading.done():
        check()
        await asyncio.wait([loading], timeout=CHECKED_EVERY_S)
    return loading.result()
