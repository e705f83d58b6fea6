"""Of a graph's nodes only those with wanted names, and those that were computed, are put to Python."""

import ctypes
import platform

import pytest

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.engines.llama_cpp.filter import NodeFilter  # noqa: E402
from proxy.engines.llama_cpp.library import NodeCallback, name_offset  # noqa: E402

Entry = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)


class Asked:
    """A filter, called as llama.cpp would, and what got through it."""

    def __init__(self, *, answer: bool = True) -> None:
        self.through: list[int] = []
        self._answer = answer
        try:
            self.filter = NodeFilter(NodeCallback(self._note), 4)
        except OSError as reason:
            pytest.skip(str(reason))
        self._call = Entry(self.filter.address)

    def _note(self, node: int) -> bool:
        self.through.append(node)
        return self._answer

    def __call__(self, name: bytes, *, computed: bool = False) -> bool:
        self._node = ctypes.create_string_buffer(b"\xff" * name_offset() + name, name_offset() + 64)
        return bool(self._call(ctypes.addressof(self._node), not computed, self.filter.wanted_at))


def test_a_node_when_its_name_is_wanted_then_the_callback_s_answer_is_given() -> None:
    for answer in (True, False):
        asked = Asked(answer=answer)
        asked.filter.want([b"l_out-1", b"l_out-12"])
        assert asked(b"l_out-1") == asked(b"l_out-12") == answer
        assert len(asked.through) == 2


def test_a_node_when_its_name_is_not_wanted_then_nobody_is_asked() -> None:
    asked = Asked()
    for names in ([], [b"l_out-1", b"l_out-12"]):
        asked.filter.want(names)
        assert not any(map(asked, (b"l_out-2", b"l_out-13", b"l_out-10", b"ffn_out-1", b"", b"l_out-1 (view)")))
    assert not asked.through


def test_a_node_when_it_was_computed_then_the_callback_s_answer_is_given_whatever_its_name() -> None:
    for answer in (True, False):
        asked = Asked(answer=answer)
        asked.filter.want([])
        assert asked(b"l_out-1", computed=True) == answer
        assert len(asked.through) == 1


def test_a_name_when_it_was_wanted_before_then_it_is_not_any_longer() -> None:
    asked = Asked()
    asked.filter.want([b"l_out-0", b"l_out-1", b"l_out-2", b"l_out-3"])
    asked.filter.want([b"l_out-3"])
    assert [asked(b"l_out-%d" % block) for block in range(4)] == [False, False, False, True]


def test_a_filter_when_the_processor_is_another_then_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="no machine code"):
        NodeFilter(NodeCallback(bool), 1)
