"""What every route works with, made once when the app is."""

from dataclasses import dataclass
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection

from proxy.engines.registry import Registry
from proxy.personas import split_model
from proxy.preparation import Poles, Preparation
from proxy.scheduler import Scheduler
from proxy.settings import Settings
from proxy.steering.traits import Trait
from vector_store import VectorStore


@dataclass(frozen=True)
class Services:
    settings: Settings
    registry: Registry
    traits: dict[str, Trait]
    poles: Poles
    store: VectorStore
    scheduler: Scheduler
    preparation: Preparation

    @property
    def model_ids(self) -> list[str]:
        """The ids of all served models, whatever their state, in the order of the settings."""
        return [state.id for state in self.registry.models()]

    @property
    def default_model(self) -> str:
        """The model of requests that name none: the operator's choice, else the first."""
        return self.settings.default_model or self.model_ids[0]

    def persona_of_model(self, name: str) -> str | None:
        """The persona in a model name such as `model:persona@1`, where that model is ready and has it."""
        model, suffix = split_model(name, self.model_ids)
        engine = next((state.engine for state in self.registry.models() if state.id == model), None)
        if engine is None or not isinstance(suffix.persona, str):
            return None
        return suffix.persona if suffix.persona in self.preparation.personas_of(engine.info) else None


def services_of(connection: ASGIConnection[Any, Any, Any, Any] | Litestar) -> Services:
    """The services of the app that serves this connection."""
    app = connection if isinstance(connection, Litestar) else connection.app
    services: Services = app.state.services
    return services
