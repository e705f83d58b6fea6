"""What families of commands have in common. Imports nothing heavy before a command runs."""

import argparse
from collections.abc import Callable

from proxy.errors import InvalidRequest, NotFound, SetupError, TraitConflict, TraitsUnavailable

Command = Callable[[argparse.Namespace], None]


def explained(run: Command, args: argparse.Namespace) -> None:
    """Run a command. What is wrong with a trait, a vector, a file, a name or the store is the operator's to put right,
    in one line: SetupError."""
    from vector_store import VectorStoreError

    try:
        run(args)
    except (InvalidRequest, NotFound, TraitConflict, TraitsUnavailable) as error:
        raise SetupError(error.message) from error
    except VectorStoreError as error:
        raise SetupError(str(error)) from error
