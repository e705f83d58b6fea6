"""
title: Personas
description: A menu of personas and a menu of strengths, for the models of persona-steering-proxy.
version: 1.0.0
required_open_webui_version: 0.12.0
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel, Field

OWNER = "persona-proxy"  # of a model, as the server's list of models says
AS_NAMED = "as the model's name says"
STRENGTHS = [f"{quarters / 4:g}" for quarters in range(8, -9, -1)]  # 2 to -2


class Filter:
    """Puts the persona that a user has chosen into each message's request. Titles and tags are asked for without it:
    Open WebUI has no filter see those."""

    class Valves(BaseModel):
        priority: int = 0

    class UserValves(BaseModel):
        persona: str = Field(
            AS_NAMED,
            description="Who answers",
            json_schema_extra={"input": {"type": "select", "options": "personas"}},
        )
        coefficient: str = Field(
            "1",
            description="How strong: 0 is off, below 0 is the opposite",
            json_schema_extra={"input": {"type": "select", "options": STRENGTHS}},
        )

        @classmethod
        def personas(cls) -> list[str]:
            """The menu: every persona that one of the server's models has a vector for."""
            from open_webui.main import app

            named = {id.partition(":")[2] for id, model in app.state.MODELS.items() if is_ours(model)}
            return [AS_NAMED, "none", *sorted(named - {""})]

    def __init__(self) -> None:
        self.valves = self.Valves()
        self.toggle = True  # a switch below the message

    def inlet(
        self,
        body: dict[str, Any],
        __user__: Mapping[str, Any],
        __model__: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The request as it goes to the server. Other servers' models get it as it was: they may refuse the fields."""
        chosen = __user__.get("valves") or self.UserValves()
        if is_ours(__model__) and chosen.persona not in (AS_NAMED, None):
            body["persona"] = chosen.persona
            if chosen.persona != "none":
                body["coefficient"] = float(chosen.coefficient or 1)
        return body

    async def stream(
        self,
        event: dict[str, Any],
        __event_emitter__: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> dict[str, Any]:
        """Say above the answer what was done to it."""
        if personas := (event.get("steering") or {}).get("personas"):
            said = ", ".join(f"{name} {coefficient:g}" for name, coefficient in personas.items())
            dose = event["steering"].get("relative_dose")
            await __event_emitter__(
                {
                    "type": "status",
                    "data": {"description": said if dose is None else f"{said} (dose {dose:.2f})", "done": True},
                }
            )
        return event


def is_ours(model: Mapping[str, Any]) -> bool:
    """Whether the server has the model, or the one it is made of in Open WebUI's workspace."""
    return bool((model.get("openai") or {}).get("owned_by") == OWNER)
