"""Answers for most nodes of a graph without Python: a few bytes of machine code between llama.cpp and our callback.

llama.cpp asks about every node, some nine hundred times a step. To ask Python takes the interpreter's lock each time: a
twentieth of a small model's step in all, and longer while other threads have it. Only questions about wanted names, and
nodes that have been computed, go on to Python. Knows nothing of blocks or steering.

It exists for x86-64 where the System V calling convention holds (Linux, macOS). Elsewhere, and where the system forbids
code that was made at run time, Python is asked about every node, which is slower and no different.
"""

import ctypes
import mmap
import platform
import sys
from collections.abc import Sequence
from typing import Any

from proxy.engines.llama_cpp.library import address_of, name_offset

_NAME_BYTES = 8  # of a name are compared; names with the same beginning all go on to Python
_END = 0


class NodeFilter:
    """What a context is to call in place of `callback` (`address`), and what it is to hand over (`wanted_at`).

    OSError where there is none for this machine.
    """

    def __init__(self, callback: Any, most_names: int) -> None:
        self._callback = callback  # has to stay
        self._wanted = (ctypes.c_uint64 * (most_names + 1))()
        self.wanted_at = ctypes.addressof(self._wanted)
        self._code = _executable(_code(address_of(callback), name_offset()))
        self.address: int = ctypes.addressof(ctypes.c_char.from_buffer(self._code))

    def want(self, names: Sequence[bytes]) -> None:
        """Put only questions about nodes of these names to the callback, from the next step on."""
        for place, name in enumerate(names):
            self._wanted[place] = int.from_bytes(name[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"), "little")
        self._wanted[len(names)] = _END


def _code(callback: int, name_at: int) -> bytes:
    """bool filter(tensor, ask, wanted): the callback's answer for a node that was computed or has a wanted name."""
    if sys.platform not in ("linux", "darwin") or platform.machine().lower() not in ("x86_64", "amd64"):
        raise OSError("no machine code for this kind of processor or system")
    return b"".join(
        (
            b"\x40\x84\xf6",  # test sil, sil         ; was it computed?
            b"\x74\x18",  # je python
            b"\x48\x8b\x87" + name_at.to_bytes(4, "little"),  # mov rax, [rdi + name_at]
            b"\x48\x8b\x0a",  # next: mov rcx, [rdx]  ; a wanted name
            b"\x48\x83\xc2\x08",  # add rdx, 8
            b"\x48\x85\xc9",  # test rcx, rcx        ; was that the last?
            b"\x74\x11",  # je no
            b"\x48\x39\xc8",  # cmp rax, rcx
            b"\x75\xef",  # jne next
            b"\x48\xb8" + callback.to_bytes(8, "little"),  # python: mov rax, callback
            b"\xff\xe0",  # jmp rax                 ; with the same arguments
            b"\x31\xc0",  # no: xor eax, eax
            b"\xc3",  # ret
        )
    )


def _executable(code: bytes) -> mmap.mmap:
    """Memory that holds the code, and can be executed but no longer be written."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    memory.write(code)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if protect(ctypes.addressof(ctypes.c_char.from_buffer(memory)), len(memory), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        raise OSError(ctypes.get_errno(), "the system forbids code that was made at run time")
    return memory
