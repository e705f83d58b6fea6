"""What the server asks of vLLM's workers, mixed into their class: by `worker_extension_cls`, and called by name.

Its names must be in none of vLLM's own classes. Importing it installs the plugin, so that a worker can't lack it.
"""

from typing import Any

import msgspec
import zmq

from proxy.engines.vllm import plugin
from proxy.engines.vllm.residents import ProbeReading
from proxy.engines.vllm.steering import Steering
from proxy.engines.vllm.table import TooMuch

plugin.install()


class SteeringExtension:
    """The calls of a worker."""

    model_runner: Any
    rank: int

    def persona_facts(self) -> dict[str, Any]:
        """What the server wants to know of the model that was loaded. RuntimeError where it can't be steered."""
        steering = self._persona_steering()
        return {
            "n_blocks": steering.n_blocks,
            "hidden": steering.hidden,
            "n_bytes": steering.n_bytes,
            "device": str(self.model_runner.device),
            "dtype": str(self.model_runner.model_config.dtype).removeprefix("torch."),
        }

    def persona_hold(self, data: bytes) -> bool | str:
        """Keep a directive for a request to come. False where there is no room for it now, and a sentence where there
        never is."""
        try:
            return self._persona_steering().residents.hold(data)
        except TooMuch as error:
            return str(error)

    def persona_release(self, ids: list[str]) -> None:
        """Requests that needed these directives have ended, one for each."""
        self._persona_steering().residents.release(ids)

    def persona_fetch(self, key: int) -> bytes:
        """What was kept of a text, as captures.Found in bytes."""
        return msgspec.msgpack.encode(self._persona_steering().captures.fetch(key))

    def persona_listen(self, address: str) -> None:
        """Tell readings to this address from now on; of several workers the first does."""
        if self.rank:
            return
        socket = zmq.Context.instance().socket(zmq.PUSH)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(address)

        def tell(readings: list[ProbeReading]) -> None:
            socket.send(msgspec.msgpack.encode(readings))

        self._persona_steering().listen(tell)

    def _persona_steering(self) -> Steering:
        steering = getattr(self.model_runner, plugin.ATTRIBUTE, None)
        if not isinstance(steering, Steering):
            raise RuntimeError("vLLM loaded the model without making it ready to be steered")
        return steering
