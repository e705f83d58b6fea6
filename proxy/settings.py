"""What an operator can set, and where from: defaults < a TOML file < PERSONA_PROXY_* < the command line's flags.

Everything wrong with a setting ends here, in a SetupError of one line that names its place and what is possible.
It knows nothing of engines, traits or HTTP.
"""

import difflib
import importlib.resources
import importlib.util
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import platformdirs
from msgspec import Meta

from proxy.catalogue.known import KNOWN
from proxy.errors import SetupError
from proxy.judge_settings import JUDGE_KINDS, JudgeSettings

ENVIRONMENT_PREFIX = "PERSONA_PROXY_"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_GGUF = ".gguf"
_FILES = [_GGUF, ".safetensors", ".bin", ".pt"]  # what ends so, or nearly so, is a file rather than a hub name
_T = TypeVar("_T")


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model to serve. `source` is a Hugging Face hub name, a folder, or a GGUF file, which either engine runs."""

    id: Annotated[
        str,
        Meta(
            pattern=r"^[^/]+(/[^/]+)?$",
            description="The name clients ask for, with one slash at most; by default the hub, folder or file name",
        ),
    ]
    source: Annotated[
        str,
        Meta(
            min_length=1,
            description="A Hugging Face hub name, a folder, a `.gguf` file, or the id of a known or a demo model",
        ),
    ]
    engine: Annotated[
        Literal["transformers", "llama_cpp"],
        Meta(
            description="What runs it: `transformers`, or, for a `.gguf` file and its default where the extra "
            "`llama-cpp` is installed, `llama_cpp`"
        ),
    ] = "transformers"
    device: Annotated[
        str,
        Meta(
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
            description="`auto` (CUDA, else Apple's MPS, else the CPU), `cuda`, `cuda:1`, `mps` or `cpu`",
        ),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(
            description="`auto` (what suits model and device), `float32`, `bfloat16` or `float16`; GGUF files keep "
            "theirs"
        ),
    ] = "auto"
    context_length: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Tokens of prompt and answer together, 1 or more; by default the model's own limit (of GGUF "
            "files at most 32768)"
        ),
    ] = None
    load: Annotated[
        Literal["start", "demand"],
        Meta(description="When it is loaded: at the server's `start`, or on `demand`, when first asked for"),
    ] = "start"
    unload_after_s: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(
            description="Seconds without a request, above 0, after which it gives its memory back until asked for again"
        ),
    ] = None


DEMO_FOLDER = Path(str(importlib.resources.files("proxy"))) / "demo"


def demo_models() -> list[ModelSettings]:
    """The small models that come with the package and need no download: two, and with the extra llama-cpp one of them
    once more, as a GGUF file."""
    return [model for model in _all_demo_models() if _has_llama_cpp() or not model.source.endswith(_GGUF)]


def _has_llama_cpp() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def _all_demo_models() -> list[ModelSettings]:
    folder = DEMO_FOLDER / "models"
    models = [ModelSettings(f"demo-{name}", str(folder / name)) for name in ("qwen2", "gpt-oss")]
    file = folder / "gpt-oss" / "model-f16.gguf"
    return [*models, ModelSettings("demo-gpt-oss-gguf", str(file), engine=_engine_of_files())]


def _engine_of_files() -> Literal["transformers", "llama_cpp"]:
    """What runs a GGUF file by default: llama.cpp where it is installed, since it starts sooner and answers faster."""
    return "llama_cpp" if _has_llama_cpp() else "transformers"


def data_folder(name: str) -> Path:
    """A folder of this name in the user's data folder; it need not exist."""
    return platformdirs.user_data_path("persona-proxy", appauthor=False) / name


def models_folder() -> Path:
    """Where the files of models are kept that were downloaded; it need not exist."""
    return data_folder("models")


def place_of(name: str) -> str | None:
    """Where a demo model is, or the file of a known one, be it downloaded or not. None for any other name."""
    if name in KNOWN:
        return str(KNOWN[name].place(models_folder()))
    return next((demo.source for demo in _all_demo_models() if demo.id == name), None)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the server can be told. All fields have defaults: `Settings()` serves the demo models."""

    host: Annotated[str, Meta(min_length=1, description="The address to listen on; `0.0.0.0` is every one")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="The port, 0 to 65535; 0 takes a free one")] = 8000
    models: Annotated[
        list[ModelSettings],
        Meta(min_length=1, description="The models to serve, at least one; in the file a `[[models]]` table each"),
    ] = msgspec.field(default_factory=demo_models)
    api_keys: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        Meta(description="Keys that open `/v1`; with none it is open to everyone who can reach it"),
    ] = msgspec.field(default_factory=list)
    admin_key: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="The key that opens `/api`; with none `/api` takes the `api_keys`"),
    ] = None
    metrics_key: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="A key that opens `/metrics` and nothing else; the keys of `/api` open it too"),
    ] = None
    cors_origins: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        Meta(description="Web origins whose pages may call the server, e.g. `https://chat.example`; `*` is any"),
    ] = msgspec.field(default_factory=list)
    max_body_bytes: Annotated[
        int, Meta(ge=1024, description="Largest request body in bytes, 1024 or more; beyond it 413")
    ] = 4 * 1024 * 1024
    max_upload_bytes: Annotated[
        int, Meta(ge=1024, description="Largest uploaded vector file in bytes, 1024 or more; beyond it 413")
    ] = 64 * 1024 * 1024
    keep_alive_s: Annotated[
        int,
        Meta(
            ge=1,
            description="Seconds an idle connection is kept, 1 or more; longer than the balancer before the server "
            "keeps its own, usually 60",
        ),
    ] = 75
    max_queue: Annotated[
        int, Meta(ge=1, description="Requests a model lets wait, 1 or more; beyond it 429 with `Retry-After`")
    ] = 64
    max_batch: Annotated[int, Meta(ge=1, description="Requests a model works on at once, 1 or more")] = 16
    default_model: Annotated[
        str | None, Meta(description="The id of the model for requests that name none; by default the first")
    ] = None
    default_persona: Annotated[
        str | None, Meta(description="The persona of requests that ask for none, e.g. `silly`; by default none")
    ] = None
    key_personas: Annotated[
        dict[str, str], Meta(description="API key to persona: what its requests get when they ask for none")
    ] = msgspec.field(default_factory=dict)
    vectors_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="Where persona vectors are kept: a folder, or a URL that fsspec knows, e.g. "
            "`s3://bucket/vectors` or `hf://OWNER/REPO/vectors`",
        ),
    ] = msgspec.field(default_factory=lambda: str(data_folder("vectors")))
    traits_dir: Annotated[Path, Meta(description="Folder of your own traits, `*.toml`")] = msgspec.field(
        default_factory=lambda: data_folder("traits")
    )
    judges: Annotated[
        list[JudgeSettings],
        Meta(
            description="OpenAI-compatible endpoints that may judge answers, in a `[[judges]]` table of the file each"
        ),
    ] = msgspec.field(default_factory=list)
    max_traits: Annotated[
        int, Meta(ge=0, description="Most traits of your own that may be made by request or command; beyond it 409")
    ] = 1000
    jobs_dir: Annotated[
        Path, Meta(description="Folder of jobs, and of what unfinished ones have done; one server's alone")
    ] = msgspec.field(default_factory=lambda: data_folder("jobs"))
    transfers_dir: Annotated[
        Path, Meta(description="Folder of the maps that carry vectors from one model to another")
    ] = msgspec.field(default_factory=lambda: data_folder("transfers"))

    log_format: Annotated[
        Literal["text", "json"], Meta(description="How the server writes its log: `text`, or one line of `json` each")
    ] = "text"
    otlp_endpoint: Annotated[
        Annotated[str, Meta(pattern=r"^https?://")] | None,
        Meta(
            description="Where spans are sent, as OTLP over HTTP, e.g. `http://127.0.0.1:4318`; with none there are no "
            "spans. Needs the extra `opentelemetry`"
        ),
    ] = None

    @property
    def parts_dir(self) -> Path:
        """Where the finished parts of unfinished work are kept."""
        return self.jobs_dir / "parts"

    @property
    def vector_folders(self) -> tuple[str, Path]:
        """Where persona vectors are looked for: the operator's place, then the folder that came with the package."""
        return self.vectors_dir, DEMO_FOLDER / "vectors"


def load_settings(
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] | None = None,
    models: Sequence[ModelSettings] | None = None,
) -> Settings:
    """The settings of one run. `flags` maps a setting's name to what the command line gave for it; `models` are there
    where nothing names any, by default the demo models.

    Relative folders mean: relative to the file they stand in, else to the working directory.
    Raises SetupError naming the file, variable or flag, the setting, and what is possible.
    """
    merged: dict[str, object] = {}
    if config is not None:
        merged |= _layer(_read_toml(config), str(config), config.absolute().parent)
    for variable in sorted(environ):
        if variable.startswith(ENVIRONMENT_PREFIX):
            merged |= _layer(_from_environment(variable, environ[variable]), variable, Path.cwd(), text=True)
    for name, value in (flags or {}).items():
        flag = "--" + name.removesuffix("s").replace("_", "-")
        merged |= _layer({name: value}, flag, Path.cwd(), text=True)
    if models is not None:
        merged.setdefault("models", models)
    settings = Settings(**merged)  # type: ignore[arg-type]  # each layer was checked on its own
    _check_together(settings)
    return settings


def model_settings(source: str) -> ModelSettings:
    """The model meant by `NAME_OR_FOLDER` or `ID=NAME_OR_FOLDER` on the command line. Raises SetupError."""
    return _model(source, "--model", Path.cwd())


def override_models(
    models: Sequence[ModelSettings], *, device: str | None = None, dtype: str | None = None
) -> list[ModelSettings]:
    """The models with the device and dtype of the command line, where given. Raises SetupError naming the flag."""
    given: dict[str, str] = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
    for name, value in given.items():
        _convert({"id": "any", "source": "any", name: value}, ModelSettings, f"--{name}", named=False)
    return [msgspec.structs.replace(model, **given) for model in models]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SetupError(f"{path}: no such file") from None
    except OSError as error:
        raise SetupError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{path}: is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{path}: is not valid TOML: {error}") from None


def _from_environment(variable: str, value: str) -> dict[str, object]:
    """The one setting a variable gives. Lists are separated by commas, `key_personas` is `key=persona,...`."""
    name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
    if name not in Settings.__struct_fields__:
        raise SetupError(_unknown(variable, variable, [variable_of(field) for field in Settings.__struct_fields__]))
    if name == "key_personas":
        pairs = [item.partition("=") for item in _split(value)]
        if not all(separator and persona for _, separator, persona in pairs):
            raise SetupError(f"{variable}: expected key=persona pairs separated by commas")
        return {name: {key.strip(): persona.strip() for key, _, persona in pairs}}
    if name in ("models", "api_keys", "cors_origins"):
        return {name: _split(value)}
    return {name: value}


def _split(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def variable_of(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _layer(raw: Mapping[str, object], where: str, base: Path, *, text: bool = False) -> dict[str, object]:
    """What one place sets, checked. `text`: it could only give text, so "8000" is a number."""
    values = dict(raw)
    models = values.get("models")
    if isinstance(models, list):
        values["models"] = [_model(item, where, base, "" if text else f"models[{i}]") for i, item in enumerate(models)]
    judges = values.get("judges")
    if isinstance(judges, list):
        values["judges"] = [_convert(item, JudgeSettings, f"{where}: judges[{i}]") for i, item in enumerate(judges)]
    checked = _convert(values, Settings, where, strict=not text, named=not text)
    layer = {name: getattr(checked, name) for name in values}
    for name in ("traits_dir", "jobs_dir", "transfers_dir"):
        if name in layer:
            layer[name] = base / layer[name]
    if "vectors_dir" in layer and "://" not in layer["vectors_dir"]:
        layer["vectors_dir"] = str(base / Path(layer["vectors_dir"]).expanduser())
    return layer


def _model(raw: object, where: str, base: Path, key: str = "") -> ModelSettings:
    """A model from a table, or from text: `source` or `id=source`."""
    if isinstance(raw, str):
        name, separator, place = raw.rpartition("=")
        if separator and not name:
            raise SetupError(f"{where}: {raw!r} has no name before '='; write id=source")
        raw = {"id": name, "source": place} if separator else {"source": raw}
    if not isinstance(raw, dict):
        raise SetupError(f"{where}: {key}: expected a table with a source, got {raw!r}")
    fields = dict(raw)
    source = fields.get("source")
    if isinstance(source, str):
        own_id, fields["source"] = _locate(source, f"{where}: {key}.source" if key else where, base)
        fields.setdefault("id", own_id)
        if fields["source"].endswith(_GGUF):
            fields.setdefault("engine", _engine_of_files())
    return _convert(fields, ModelSettings, f"{where}: {key}" if key else where)


def _locate(source: str, where: str, base: Path) -> tuple[str, str]:
    """A source's id and where it is: a demo or known model's place, a folder or file made absolute, or a hub name as it
    is."""
    folder = base / Path(source).expanduser()
    if (place := place_of(source)) is not None and not (source in KNOWN and folder.is_dir()):
        return source, place
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise SetupError(f"{where}: the folder {folder} holds no model: it has no config.json")
        return folder.resolve().name, str(folder.resolve())
    if source.endswith(_GGUF):
        if not folder.is_file():
            raise SetupError(f"{where}: no such GGUF file: {source}")
        return folder.stem, str(folder.resolve())
    if source.startswith((".", "~")) or Path(source).is_absolute():
        raise SetupError(f"{where}: no such model folder: {source}")
    if folder.is_file():
        raise SetupError(f"{where}: {source} is a file, and no GGUF file (*{_GGUF}); name a folder, or a hub name")
    ending = folder.suffix.lower()
    if ending[1:].isalpha() and difflib.get_close_matches(ending, _FILES, n=1, cutoff=0.85):
        raise SetupError(f"{where}: no such file: {source}")
    if not _HUB_NAME.fullmatch(source):
        raise SetupError(f"{where}: {source!r} is neither a folder nor a hub name such as Qwen/Qwen2.5-7B-Instruct")
    return source, source


def _convert(raw: object, type_: type[_T], where: str, *, strict: bool = True, named: bool = True) -> _T:
    try:
        return msgspec.convert(raw, type_, strict=strict, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise SetupError(_explain(str(error), type_, where, named)) from None


def _decode_path(type_: type, value: object) -> Path:
    if type_ is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError("Expected the path of a folder")


def _explain(message: str, type_: type, where: str, named: bool) -> str:
    """msgspec's message in the words of a settings file: where, which setting, what is wrong, what is possible."""
    what, _, path = message.partition(" - at `$")
    path = path.rstrip("`").removeprefix(".")
    what = (what[:1].lower() + what[1:]).replace("`", "")
    what = re.sub(r"expected str matching regex .*|invalid enum value.*", "not a possible value", what)
    if unknown := re.search(r"unknown field (\w+)", what):
        return _unknown(where, unknown[1], list(type_.__struct_fields__))  # type: ignore[attr-defined]
    fields = {name: meaning for name, _, meaning in fields_of(type_)}
    name = path.partition(".")[0].partition("[")[0]
    possible = f" ({fields[name]})" if name in fields else ""
    return f"{where}: {path + ': ' if named and path else ''}{what}{possible}"


def _unknown(where: str, name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    place = "" if where == name else f"{name}: "
    return f"{where}: {place}unknown setting; {hint}possible: {', '.join(known)}"


def _check_together(settings: Settings) -> None:
    """What no single setting can get wrong."""
    ids = [model.id for model in settings.models]
    for id_ in ids:
        if ids.count(id_) > 1:
            raise SetupError(f"models: two have the id {id_!r}; tell them apart with id=source or an id of their own")
    if settings.default_model is not None and settings.default_model not in ids:
        raise SetupError(f"default_model: no model {settings.default_model!r}; possible: {', '.join(ids)}")
    for number, judge in enumerate(settings.judges):
        if judge.name in (*JUDGE_KINDS, *ids, *(other.name for other in settings.judges[:number])):
            raise SetupError(f"judges: the name {judge.name!r} is taken: by a model, another judge or a kind of judge")
    if "://" in settings.vectors_dir:
        import fsspec  # not needed for a folder

        try:
            fsspec.get_filesystem_class(settings.vectors_dir.partition("://")[0].rpartition("::")[2])
        except (ValueError, ImportError) as error:
            raise SetupError(f"vectors_dir: {settings.vectors_dir}: {error}") from None
    for key in (*settings.api_keys, settings.admin_key or "", settings.metrics_key or ""):
        if key != key.strip() or not key.isprintable():
            raise SetupError(
                "api_keys, admin_key, metrics_key: a key begins or ends with a space, or holds a control character"
            )
    if settings.api_keys and (strays := set(settings.key_personas) - set(settings.api_keys)):
        raise SetupError(f"key_personas: {len(strays)} of the keys are not among the api_keys, which alone are let in")


def fields_of(type_: type) -> list[tuple[str, object, str]]:
    """Name, default and meaning of each field of a settings struct, in its order."""
    info = msgspec.inspect.type_info(type_)
    assert isinstance(info, msgspec.inspect.StructType)
    rows = []
    for field in info.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata)
        rows.append((field.name, field.default, (field.type.extra_json_schema or {})["description"]))
    return rows
