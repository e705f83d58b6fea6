"""Traits of one's own for whoever asks for them: the checks that the API and the command line make alike.

Knows the traits' folder and the store of vectors, and nothing of HTTP, arguments or how a trait is written.
"""

from collections.abc import Sequence

from proxy.errors import InvalidRequest, SetupError, TraitConflict
from proxy.steering.traits.files import TraitFolder
from proxy.steering.traits.names import pole_name, slug
from proxy.steering.traits.parts import Brief
from proxy.steering.traits.trait import Trait, decode_trait
from vector_store import VectorStore

MAX_DESCRIPTION = 200  # characters


def brief_of(
    name: str,
    positive_trait: str,
    negative_trait: str,
    positive: str | None = None,
    negative: str | None = None,
    seed: int = 0,
) -> Brief:
    """What is to be made: the trait's id from its name, and each persona's name from its description where that is of
    three words at most, else from the trait's id; `positive` and `negative` are other names for them.

    InvalidRequest where a name is none, or a description is empty or too long.
    """
    described = {"positive_trait": positive_trait, "negative_trait": negative_trait}
    for field, text in described.items():
        described[field] = " ".join(text.split()).rstrip(".")
        if not 0 < len(described[field]) <= MAX_DESCRIPTION:
            possible = f"1 to {MAX_DESCRIPTION} characters, such as grumpy and short-tempered"
            raise InvalidRequest(f"{field}: it has {len(described[field])}; possible: {possible}", param=field)
    trait_id = slug(name)
    if not trait_id:
        raise InvalidRequest(
            "trait_name: it has no letter and no digit; possible: text such as grumpy", param="trait_name"
        )
    return Brief(
        trait_id,
        positive or pole_name(described["positive_trait"], trait_id),
        negative or pole_name(described["negative_trait"], f"not-{trait_id}"),
        **described,
        seed=seed,
    )


def add(trait: Trait, folder: TraitFolder, store: VectorStore, content: bytes | None = None) -> None:
    """Add a trait, as TraitFolder.add does; TraitConflict also as in `check_new`."""
    check_new(trait, folder, store)
    folder.add(trait, content)


def check_new(names: Trait | Brief, folder: TraitFolder, store: VectorStore) -> None:
    """InvalidRequest and TraitConflict where a trait of these names can't be added, before a model writes any of it.

    Nor can it where vectors of another trait of this id are left: they would steer to its poles, not to these.
    """
    folder.check_new(names.id, names.positive, names.negative)
    for header in store.list(None, names.id):
        if (header.positive, header.negative) != (names.positive, names.negative):
            raise TraitConflict(
                f"Vectors of a former trait {names.id!r} are still there, between {header.positive!r} and "
                f"{header.negative!r}; delete them, or choose another name.",
                code="vectors_left",
            )


def check_unclaimed(names: Trait | Brief, writing: Brief, job_id: str) -> None:
    """TraitConflict where the trait that a job is `writing` has one of these names."""
    poles = {names.positive, names.negative} & {writing.positive, writing.negative}
    if names.id == writing.id:
        taken = f"a trait {names.id!r}"
    elif poles:
        taken = f"a trait {writing.id!r} with a pole {min(poles)!r}"
    else:
        return
    message = f"The job {job_id} is writing {taken}; wait for it, cancel it, or choose another name."
    raise TraitConflict(message, code="trait_exists")


def file_trait(content: bytes) -> Trait:
    """The trait that a file holds. InvalidRequest."""
    try:
        return decode_trait(content, "file")
    except SetupError as error:
        raise InvalidRequest(error.message, param="file") from None


def changed_note(trait: Trait, vectors: Sequence[str]) -> str | None:
    """What who changes a trait should know of its vectors."""
    if not vectors:
        return None
    return f"{_count(vectors)} made from its former text and will be used until {trait.id!r} is extracted again."


def deleted_note(trait: Trait, vectors: Sequence[str]) -> str | None:
    """What who deletes a trait should know of its vectors."""
    if not vectors:
        return None
    return f"{_count(vectors)} kept, and will be used again by a trait {trait.id!r} of the same poles."


def _count(vectors: Sequence[str]) -> str:
    return "1 vector was" if len(vectors) == 1 else f"{len(vectors)} vectors were"
