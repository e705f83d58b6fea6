"""Gets a GGUF file from the Hugging Face hub: with progress, going on where a download was cut off, and checked.

The hub's library downloads into its cache, where what a stopped process had so far is thrown away; for files of many
gigabytes that won't do. So the file and its beginnings are kept in a folder of ours, and the library's single transfer
fills it. Knows nothing of what a model is.
"""

import hashlib
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, RepoFile, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.errors import HTTPError as TransportFailed  # type: ignore[attr-defined]
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
from tqdm import tqdm

from proxy.errors import ProxyError, SetupError

MODELS = {
    "gpt-oss-20b": "ggml-org/gpt-oss-20b-GGUF/gpt-oss-20b-mxfp4.gguf",
    "qwen2.5-7b-instruct": "bartowski/Qwen2.5-7B-Instruct-GGUF/Qwen2.5-7B-Instruct-Q4_K_M.gguf",
}
_ONE_OF_SEVERAL = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_READ_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class HubFile:
    """A file on the hub, `size` in bytes."""

    repo: str
    name: str
    size: int
    sha256: str


def pull(model: str, folder: Path) -> Path:
    """Download a model of MODELS, or `OWNER/REPO/FILE.gguf`, into `folder`, and say on the console how to serve it.

    Returns the file. SetupError for what the hub does not have or the disk has no room for, ProxyError where the
    download failed; what it had so far is kept for the next time, unless its checksum was wrong.
    """
    place = MODELS.get(model, model)
    repo, name = _split(place)
    try:
        file = _find(repo, name)
        target = folder / repo.replace("/", "--") / name
        if target.is_file() and _sha256(target) == file.sha256:
            print("It is already there, and its checksum is right.")
        else:
            _download(file, target)
    except (HFValidationError, RepositoryNotFoundError):
        raise SetupError(f"{place}: there is no such repository on the Hugging Face hub, or not for you") from None
    except GatedRepoError:
        raise SetupError(f"{place}: the hub wants you to accept its terms and log in (hf auth login)") from None
    except OfflineModeIsEnabled:
        raise SetupError(f"{place}: the hub may not be asked while HF_HUB_OFFLINE is set") from None
    except (TransportFailed, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProxyError(f"{place}: the download failed ({reason}); the same command goes on from there") from None
    source = f"{model}={target}" if model in MODELS else str(target)
    print(f"{target}\n\nServe it:\n  persona-proxy serve --model {shlex.quote(source)}")
    return target


def _split(place: str) -> tuple[str, str]:
    owner, _, rest = place.partition("/")
    repo, _, name = rest.partition("/")
    if not (owner and repo and name.endswith(".gguf")) or ".." in place.split("/"):
        raise SetupError(f"{place}: not a model to pull; possible: {', '.join(MODELS)}, OWNER/REPO/FILE.gguf")
    if _ONE_OF_SEVERAL.search(name):
        raise SetupError(f"{place}: this is one of several parts; pull a model that is one file")
    return f"{owner}/{repo}", name


def _find(repo: str, name: str) -> HubFile:
    hub = HfApi()
    found = [entry for entry in hub.get_paths_info(repo, [name]) if isinstance(entry, RepoFile)]
    if not found:
        there = [path for path in hub.list_repo_files(repo) if path.endswith(".gguf")]
        raise SetupError(f"{repo} has no file {name}; possible: {', '.join(there) or 'none, it holds no GGUF'}")
    if found[0].lfs is None:
        raise SetupError(f"{repo}/{name}: the hub has no checksum of it; a model's file has one")
    return HubFile(repo, name, found[0].size, found[0].lfs.sha256)


def _download(file: HubFile, target: Path) -> None:
    # Named by its checksum: another version of the file does not go on from this one's beginning.
    part = target.with_name(f"{target.name}.{file.sha256[:12]}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as stream:
        if stream.tell() > file.size:
            stream.truncate(0)  # two downloads at once wrote into it
        done = min(stream.tell(), part.stat().st_size)
        room = shutil.disk_usage(part.parent).free
        if file.size - done > room:
            raise SetupError(f"{part.parent}: {_gb(file.size - done)} are to come, and there is room for {_gb(room)}")
        begun = f", of which {_gb(done)} are here" if done else ""
        print(f"Downloading {file.name} from {file.repo}: {_gb(file.size)}{begun}", flush=True)
        http_get(
            hf_hub_url(file.repo, file.name),
            stream,
            resume_size=done,
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.name,
        )
    if _sha256(part) != file.sha256:
        part.unlink()
        raise ProxyError(f"{file.name}: the checksum of what came is wrong; it was deleted, try again")
    part.replace(target)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as stream, tqdm(desc="checksum", total=size, unit="B", unit_scale=True, leave=False) as bar:
        while piece := stream.read(_READ_BYTES):
            digest.update(piece)
            bar.update(len(piece))
    return digest.hexdigest()


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
