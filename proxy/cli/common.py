"""What families of commands have in common. Imports nothing heavy before a command runs."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from proxy.errors import InvalidRequest, NotFound, ProxyError, SetupError, TraitConflict, TraitsUnavailable

Command = Callable[[argparse.Namespace], None]


@contextmanager
def explained() -> Iterator[None]:
    """What is wrong with a trait, a vector, a file, a name or the store is the operator's to put right, in one line:
    SetupError."""
    try:
        yield
    except (InvalidRequest, NotFound, TraitConflict, TraitsUnavailable) as error:
        raise SetupError(error.message) from error
    except ProxyError:
        raise
    except Exception as error:
        from vector_store import VectorStoreError  # heavy, and not needed before something failed

        if isinstance(error, VectorStoreError):
            raise SetupError(str(error)) from error
        raise
