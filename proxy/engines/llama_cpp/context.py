"""One llama.cpp context: steps of many tokens of many sequences, and the memory of what the sequences hold.

A sequence is a text in that memory, by number. Its tokens may be shared with others, which costs nothing. Knows nothing
of requests, sampling or threads; one thread at a time uses it.
"""

import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from proxy.engines.base import FloatArray
from proxy.engines.errors import ModelFailed
from proxy.engines.llama_cpp.graph import BlockRead, GraphHook, StepSteering, TokenSlot
from proxy.engines.llama_cpp.library import complaints, llama, logits_address, n_threads
from proxy.engines.llama_cpp.model import LlamaModel
from proxy.engines.llama_cpp.turns import in_turn
from proxy.errors import SetupError

ByteArray = npt.NDArray[np.uint8]

_OK, _NO_ROOM = 0, 1  # what llama_decode returns


class NoRoom(Exception):
    """The memory has no room for a step's tokens; nothing has changed."""


class StepToken(NamedTuple):
    """One token of a step: at `position` of `sequence`. `wanted`: its logits are."""

    token: int
    position: int
    sequence: int
    wanted: bool


class Context:
    """Room for `n_cells` tokens of `n_sequences` texts, taken up by at most `n_batch` a step, `n_outputs` of them with
    logits. SetupError where there is no memory for it. Freed when nothing refers to it.

    The attribute `n_batch` is what a step really takes: no more than there are cells.
    """

    def __init__(self, model: LlamaModel, n_cells: int, n_sequences: int, n_batch: int, n_outputs: int) -> None:
        self.model = model
        self._hook = GraphHook(model.n_layers, model.hidden_size, n_batch)
        parameters = llama.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = n_cells, n_sequences
        # A step is one graph: tokens keep their order in it.
        parameters.n_batch = parameters.n_ubatch = n_batch
        parameters.n_outputs_max = n_outputs
        parameters.n_threads = parameters.n_threads_batch = n_threads()
        # One memory for all: whoever needs room gets it, and a prompt's beginning is shared without a copy. Blocks that
        # look back over a window only have room for as much as the others, or hardly any beginning could be shared.
        parameters.kv_unified = parameters.swa_full = True
        parameters.no_perf = True
        callback, handed_over = self._hook.entry
        parameters.cb_eval = ctypes.cast(callback, type(parameters.cb_eval))
        parameters.cb_eval_user_data = handed_over
        with complaints() as heard:
            self.handle: Any = llama.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            raise SetupError(
                f"there is too little memory for a context of {n_cells} tokens; set a smaller context_length"
                + (f" ({heard[0][:200]})" if heard else "")
            )
        # The model has to stay for as long as the context. Not when the process ends: a step might be under way.
        weakref.finalize(self, _free, self.handle, model).atexit = False
        self._memory: Any = llama.llama_get_memory(self.handle)
        self.n_batch: int = llama.llama_n_batch(self.handle)
        self.n_cells = n_cells
        self._n_outputs = n_outputs
        self._batch = _StepArrays(self.n_batch)
        self._logits: tuple[int, FloatArray] = (0, np.zeros((0, model.n_tokens), np.float32))

    def run(
        self,
        tokens: Sequence[StepToken],
        steering: StepSteering | None = None,
        reading: BlockRead | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> FloatArray:
        """One step: float32[n_wanted, vocabulary], valid until the next one. Each sequence's tokens follow on those it
        holds. NoRoom, or ModelFailed, after which the sequences may hold some of the tokens or not. `meanwhile` is run
        while the step is computed, where that is on a thread of its own, else before it."""
        if len(tokens) > self.n_batch or sum(token.wanted for token in tokens) > self._n_outputs:
            raise ValueError(f"a step of {len(tokens)} tokens is too large")  # llama.cpp would end the process
        n_wanted = self._batch.fill(tokens)
        if not self._run(len(tokens), n_wanted, steering, reading, meanwhile):
            # The graph was made anew at other addresses. The step did not do what it should: once more.
            for token in tokens:
                self.cut(token.sequence, token.position)
            self._hook.clear()
            if not self._run(len(tokens), n_wanted, steering, reading):
                raise ModelFailed("llama.cpp does not show this model's blocks")
        return self._logits_of(n_wanted) if n_wanted else self._logits[1][:0]

    def _logits_of(self, n_wanted: int) -> FloatArray:
        """Where llama.cpp has put the step's logits, which mostly is where the last one's were: to make an array of an
        address takes longer than to draw a token."""
        at: int = logits_address(self.handle)
        known, logits = self._logits
        if at != known or len(logits) < n_wanted:
            numbers = (ctypes.c_float * (n_wanted * self.model.n_tokens)).from_address(at)
            logits = np.ctypeslib.as_array(numbers).reshape(n_wanted, self.model.n_tokens)
            self._logits = at, logits
        return logits[:n_wanted]

    def _run(
        self,
        n_tokens: int,
        n_wanted: int,
        steering: StepSteering | None,
        reading: BlockRead | None,
        meanwhile: Callable[[], None] | None = None,
    ) -> bool:
        self._hook.prepare((n_tokens, n_wanted), steering, reading)
        if self.model.device == "cpu":
            status, heard = in_turn(self._decode, meanwhile)
        else:
            if meanwhile is not None:
                meanwhile()
            status, heard = self._decode()
        if status == _NO_ROOM:
            raise NoRoom
        if status != _OK:
            raise ModelFailed(f"llama.cpp failed while it ran ({heard[0][:200] if heard else status})")
        return self._hook.complete()

    def _decode(self) -> tuple[int, list[str]]:
        """What it came to, and what llama.cpp complained of."""
        with complaints() as heard:
            return llama.llama_decode(self.handle, self._batch.native), heard

    def cut(self, sequence: int, length: int) -> None:
        """Keep only the first `length` tokens of a sequence."""
        llama.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def can_go_on(self, sequence: int, length: int) -> bool:
        """Whether a text may go on after the first `length` tokens of a sequence. Of blocks that look back over a
        window only, llama.cpp forgets what lies before the window of the sequence's last token; a text that goes on
        from an earlier token would need some of it."""
        first: int = llama.llama_memory_seq_pos_min(self._memory, sequence)
        return 0 <= first <= max(length - self.model.window, 0)

    def share(self, source: int, target: int, length: int) -> None:
        """Let a sequence that holds none of them hold the first `length` tokens of another."""
        llama.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def hold_once(self, source: int, target: int, length: int) -> None:
        """Let two sequences that begin with the same `length` tokens hold them once: as `source` does."""
        llama.llama_memory_seq_rm(self._memory, target, 0, length)
        self.share(source, target, length)

    def save(self, sequence: int) -> ByteArray:
        """A copy of all that is held of a sequence. Of blocks that look back over a window only, just that window."""
        size = llama.llama_state_seq_get_size(self.handle, sequence)
        state = np.empty(size, np.uint8)
        llama.llama_state_seq_get_data(self.handle, _bytes_of(state), size, sequence)
        return state

    def restore(self, sequence: int, state: ByteArray) -> bool:
        """Let an empty sequence hold what was saved; whether there was room. In an empty memory it lies as if it had
        been read there."""
        with complaints():
            return bool(llama.llama_state_seq_set_data(self.handle, _bytes_of(state), len(state), sequence))

    def clear(self) -> None:
        """Empty all sequences."""
        llama.llama_memory_clear(self._memory, False)

    def find_trimmed_block(self) -> int | None:
        """The block whose output holds only the tokens whose logits are wanted: the last, in most architectures.
        SetupError for a model whose blocks can't be steered and read. Empties all sequences."""
        tokens = [StepToken(0, 0, 0, wanted=False), StepToken(0, 1, 0, wanted=True)]
        reading = BlockRead([TokenSlot(0, 0)], range(self.model.n_layers), lambda block, hidden: None, trimmed=None)
        try:
            self.run(tokens, reading=reading)
        except ModelFailed as error:
            raise SetupError(f"models of this architecture can't be steered: {error}") from error
        finally:
            self.clear()
        n_rows = [self._hook.seen[block] for block in range(self.model.n_layers)]
        last = len(n_rows) - 1
        if any(n != len(tokens) for n in n_rows[:last]) or n_rows[last] not in (1, len(tokens)):
            raise SetupError(f"models of this architecture can't be steered: of 2 tokens their blocks keep {n_rows}")
        return last if n_rows[last] == 1 else None


class _StepArrays:
    """The arrays a step is handed over in."""

    def __init__(self, size: int) -> None:
        self._tokens, self._positions, self._sequences, ones = ((ctypes.c_int32 * size)() for _ in range(4))
        self._wanted = (ctypes.c_int8 * size)()
        ones[:] = [1] * size
        first, step = ctypes.addressof(self._sequences), ctypes.sizeof(ctypes.c_int32)
        addresses = (ctypes.c_void_p * size)(*(first + number * step for number in range(size)))
        self.native = llama.llama_batch()
        self._arrays: dict[str, Any] = {
            "token": self._tokens,
            "pos": self._positions,
            "n_seq_id": ones,
            "seq_id": addresses,
            "logits": self._wanted,
        }
        for name, kind in llama.llama_batch._fields_:
            if name in self._arrays:
                setattr(self.native, name, ctypes.cast(self._arrays[name], kind))

    def fill(self, tokens: Sequence[StepToken]) -> int:
        """Returns how many logits are wanted."""
        end = self.native.n_tokens = len(tokens)
        columns = zip(*tokens, strict=True)
        self._tokens[:end], self._positions[:end], self._sequences[:end], self._wanted[:end] = map(list, columns)
        return sum(token.wanted for token in tokens)


def _bytes_of(array: ByteArray) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _free(handle: Any, model: LlamaModel) -> None:
    llama.llama_free(handle)
