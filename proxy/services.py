"""What every route works with, made once when the app is."""

import asyncio
from dataclasses import dataclass
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection

from proxy.chat.available import Available
from proxy.chat.personas import PersonaSource, split_model
from proxy.chat.scheduler import Scheduler
from proxy.chat.turn import Turns
from proxy.engines.registry import Registry
from proxy.jobs.queue import JobQueue
from proxy.judges import Judges
from proxy.routes.recent_errors import RecentErrors
from proxy.routes.upload import UploadPlaces
from proxy.settings import Settings
from proxy.steering.monitor import Monitor
from proxy.steering.traits.files import TraitFolder
from proxy.steering.traits.trait import Poles, Trait, Traits
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tracing import Tracing
from vector_store import VectorStore


@dataclass(frozen=True)
class Services:
    settings: Settings
    registry: Registry
    known_traits: Traits
    own_traits: TraitFolder
    store: VectorStore
    judges: Judges
    scheduler: Scheduler
    available: Available
    turns: Turns
    jobs: JobQueue
    monitor: Monitor
    uploads: UploadPlaces
    errors: RecentErrors
    metrics: Metrics
    tracing: Tracing | None
    started: float  # in Unix seconds

    @property
    def traits(self) -> dict[str, Trait]:
        """The traits by id, as their files are now."""
        return self.known_traits.current

    async def poles(self) -> Poles:
        """Every persona's name, as the traits are now. Their files are looked at in a thread."""
        return await asyncio.to_thread(lambda: self.known_traits.poles)

    @property
    def model_ids(self) -> list[str]:
        """The ids of all served models, whatever their state, in the order of the settings."""
        return [state.id for state in self.registry.models()]

    @property
    def default_model(self) -> str:
        """The model of requests that name none: the operator's choice, else the first."""
        return self.settings.default_model or self.model_ids[0]

    def asked_model(self, name: str | None) -> tuple[str, PersonaSource]:
        """Which model a request's `model` means, and what its suffix says of personas; without one the default model.
        ModelNotFound."""
        model, suffix = split_model(name or self.default_model, self.model_ids)
        return self.registry.state(model).id, suffix


def services_of(connection: ASGIConnection[Any, Any, Any, Any] | Litestar) -> Services:
    """The services of the app that serves this connection."""
    app = connection if isinstance(connection, Litestar) else connection.app
    services: Services = app.state.services
    return services
