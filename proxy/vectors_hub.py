"""Vectors to and from a repository of the Hugging Face hub, one commit at a time, with a card written from them.

They lie there as in any store, so `hf://OWNER/REPO` may also be a server's `vectors_dir`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.errors import HTTPError as TransportFailed  # type: ignore[attr-defined]

from proxy.errors import HubFailed, InvalidRequest, first_line
from vector_store import BadVectorFile, PersonaVector, VectorHeader, VectorStore
from vector_store.card import card
from vector_store.files import decode, encode, header_of
from vector_store.store import slug

SUFFIX = ".safetensors"
MAX_FILE_BYTES = 256 * 1024 * 1024


def push(repo: str, vectors: Sequence[PersonaVector], *, private: bool = False) -> str:
    """Add saved vectors to a repository, which is made where it is not there; its address. What is there stays.

    InvalidRequest where the hub does not let this be done, HubFailed where it failed."""
    if not vectors:
        raise InvalidRequest("there are no such vectors to push", param="model")
    api = HfApi()
    with _explained(repo):
        address = str(api.create_repo(repo, private=private, exist_ok=True))
        there = {_path(header_of(vector)): header_of(vector) for vector in _stored(api, repo)}
        new = {_path(header_of(vector)): vector for vector in vectors if _path(header_of(vector)) not in there}
        headers = [*there.values(), *map(header_of, new.values())]
        operations = [CommitOperationAdd(path, encode(vector)) for path, vector in new.items()]
        operations.append(CommitOperationAdd("README.md", card(repo, headers).encode()))
        api.create_commit(repo, operations, commit_message=f"Add {len(new)} persona vectors")
        return address


def pull(repo: str, store: VectorStore, *, model: str | None = None, trait: str | None = None) -> list[str]:
    """Save a repository's vectors, or those of one model or trait; their ids. What is there already stays as it is.

    InvalidRequest where there are none or the hub does not give them, HubFailed where the download failed."""
    store.prepare()
    with _explained(repo):
        found = [
            vector
            for vector in _stored(HfApi(), repo)
            if model in (None, vector.model_id) and trait in (None, vector.trait)
        ]
    if not found:
        raise _refused(repo, "it holds no persona vectors, or none of that model and trait")
    return [store.save(vector) for vector in found]


def _stored(api: HfApi, repo: str) -> Iterator[PersonaVector]:
    """The repository's vectors; other files are passed over."""
    for name in api.list_repo_files(repo):
        if name.endswith(SUFFIX) and name.count("/") == 2:
            path = Path(api.hf_hub_download(repo, name))
            if path.stat().st_size > MAX_FILE_BYTES:
                raise BadVectorFile(f"{repo}/{name}: larger than any persona vector")
            yield decode(path.read_bytes(), f"{repo}/{name}")


def _path(header: VectorHeader) -> str:
    return f"{slug(header.model_id)}/{slug(header.trait)}/{slug(header.id)}{SUFFIX}"


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    try:
        yield
    except (HFValidationError, RepositoryNotFoundError):
        raise _refused(repo, "there is no such repository on the Hugging Face hub, or not for you") from None
    except GatedRepoError:
        raise _refused(repo, "the hub wants you to accept its terms and log in (hf auth login)") from None
    except OfflineModeIsEnabled:
        raise _refused(repo, "the hub may not be asked while HF_HUB_OFFLINE is set") from None
    except (TransportFailed, OSError) as error:
        raise HubFailed(f"{repo}: the hub failed: {first_line(error)}") from None


def _refused(repo: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{repo}: {reason}", param="repo")
