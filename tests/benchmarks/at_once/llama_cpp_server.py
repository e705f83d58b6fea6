"""llama-cpp-python's server, whose model answers at once: an answer repeats its prompt.

Run by the Python of the other servers' environment, with the server's own flags. Imports nothing of this project.
"""

import runpy
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import llama_cpp


def generate(self: Any, tokens: Sequence[int], *args: Any, **kwargs: Any) -> Iterator[int]:
    """In place of reading the prompt and drawing tokens."""
    vocabulary = self._model.vocab
    self.n_tokens = len(tokens)  # it looks at what is read
    for token in cycle(token for token in tokens if not llama_cpp.llama_vocab_is_control(vocabulary, token)):
        yield token
        self.n_tokens += 1


if __name__ == "__main__":
    setattr(llama_cpp.Llama, "generate", generate)  # noqa: B010
    runpy.run_module("llama_cpp.server", run_name="__main__")
