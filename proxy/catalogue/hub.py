"""Gets a file from the Hugging Face hub: with progress, going on where a download was cut off, and checked.

The hub's library downloads into its cache, where what a stopped process had so far is thrown away; for files of many
gigabytes that won't do. So the file and its beginnings are kept in a folder of ours, and the library's single transfer
fills it. Knows nothing of what a model is.
"""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, RepoFile, get_session, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.errors import HTTPError as TransportFailed  # type: ignore[attr-defined]
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from proxy.catalogue.files import check_room, in_words, make_folder, noticing_a_full_disk, settle, sha256_of
from proxy.errors import ProxyError, SetupError, first_line

PATIENCE_S = 5.0  # what a hub that can't be reached may cost


@dataclass(frozen=True)
class HubFile:
    """A file on the hub, `size` in bytes."""

    repo: str
    name: str
    size: int
    sha256: str


def fetch(repo: str, name: str, target: Path, sha256: str | None = None) -> None:
    """Download a file to `target`, unless it is there; with `sha256` this version of it alone.

    SetupError for what the hub does not have or the disk has no room for, ProxyError where the hub can't be reached or
    the download failed; what it had so far is kept for the next time, unless its checksum was wrong.
    """
    place = f"{repo}/{name}"
    with _in_one_line(place):
        file = _found_soon(repo, name)
        if sha256 not in (None, file.sha256):
            raise ProxyError(f"{place}: the hub has another version of it; `persona-proxy pull {place}` takes that")
        if target.is_file() and sha256_of(target) == file.sha256:
            print("It is already there, and its checksum is right.")
        else:
            _download(file, target)


@contextmanager
def _in_one_line(place: str) -> Iterator[None]:
    try:
        yield
    except (HFValidationError, RepositoryNotFoundError):
        raise SetupError(f"{place}: there is no such repository on the Hugging Face hub, or not for you") from None
    except GatedRepoError:
        raise SetupError(f"{place}: the hub wants you to accept its terms and log in (hf auth login)") from None
    except OfflineModeIsEnabled:
        raise SetupError(f"{place}: the hub may not be asked while HF_HUB_OFFLINE is set") from None
    except TimeoutError:
        raise ProxyError(f"{place}: the Hugging Face hub can't be reached within {PATIENCE_S:.0f} seconds") from None
    except (TransportFailed, OSError) as error:
        reason = first_line(error)
        raise ProxyError(f"{place}: the download failed ({reason})") from None


def _found_soon(repo: str, name: str) -> HubFile:
    """What the hub says of the file, and proof that it can be had. TimeoutError where that takes too long: neither the
    look-up of a name nor the library's own tries have a limit of theirs."""
    outcome: queue.SimpleQueue[HubFile | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            file = _find(repo, name)
            _touch(file)
            outcome.put(file)
        except Exception as error:  # whatever it is, it is raised on the thread that waits
            outcome.put(error)

    threading.Thread(target=ask, name="ask-hub", daemon=True).start()
    try:
        found = outcome.get(timeout=PATIENCE_S)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


def _find(repo: str, name: str) -> HubFile:
    hub = HfApi()
    found = [entry for entry in hub.get_paths_info(repo, [name]) if isinstance(entry, RepoFile)]
    if not found:
        there = [path for path in hub.list_repo_files(repo) if path.endswith(".gguf")]
        raise SetupError(f"{repo} has no file {name}; possible: {', '.join(there) or 'none, it holds no GGUF'}")
    if found[0].lfs is None:
        raise SetupError(f"{repo}/{name}: the hub has no checksum of it; a model's file has one")
    return HubFile(repo, name, found[0].size, found[0].lfs.sha256)


def _touch(file: HubFile) -> None:
    """Ask for one byte: large files come from another machine than what is said of them."""
    headers = {**build_hf_headers(), "Range": "bytes=0-0"}
    with get_session().stream("GET", hf_hub_url(file.repo, file.name), headers=headers, follow_redirects=True):
        pass


def _download(file: HubFile, target: Path) -> None:
    # Named by its checksum: another version of the file does not go on from this one's beginning.
    part = target.with_name(f"{target.name}.{file.sha256[:12]}.part")
    make_folder(part.parent)
    with noticing_a_full_disk(part.parent), part.open("ab") as stream:
        if stream.tell() > file.size:
            stream.truncate(0)  # two downloads at once wrote into it
        done = min(stream.tell(), part.stat().st_size)
        check_room(part.parent, file.size - done)
        begun = f", of which {in_words(done)} are here" if done else ""
        print(f"Downloading {file.name} from {file.repo}: {in_words(file.size)}{begun}", flush=True)
        http_get(
            hf_hub_url(file.repo, file.name),
            stream,
            resume_size=done,
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.name,
        )
    settle(part, target, file.sha256)
