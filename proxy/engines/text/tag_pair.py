"""Two tags around a part of an answer, in tokenizers that have each as one token. Knows nothing of what is between."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class TagPair:
    """The tags' ids in one tokenizer. Their texts are the subclass's."""

    OPEN: ClassVar[str]
    CLOSE: ClassVar[str]

    open: int
    close: int

    @property
    def texts(self) -> dict[int, str]:
        return {self.open: self.OPEN, self.close: self.CLOSE}

    @classmethod
    def found(cls, tokenizer: Any) -> Self | None:
        """None where the vocabulary lacks a tag."""
        vocabulary = tokenizer.get_vocab()
        if cls.OPEN not in vocabulary or cls.CLOSE not in vocabulary:
            return None
        return cls(vocabulary[cls.OPEN], vocabulary[cls.CLOSE])
