"""What an operator can set, and what each setting means."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.judge_settings import JudgeSettings
from proxy.settings.models import DEMO_FOLDER, KNOWN_FOLDER, ModelSettings, data_folder, demo_models

ENVIRONMENT_PREFIX = "PERSONA_PROXY_"


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
    def vector_folders(self) -> tuple[str, Path, Path]:
        """Where persona vectors are looked for: the operator's place, then the folders that came with the package."""
        return self.vectors_dir, DEMO_FOLDER / "vectors", KNOWN_FOLDER / "vectors"

    @property
    def trait_folders(self) -> tuple[Path, Path]:
        """Where traits are looked for beside the built-in ones: those that came with vectors of known models, then the
        operator's own, which go before them."""
        return KNOWN_FOLDER / "traits", self.traits_dir


def variable_of(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def fields_of(type_: type) -> list[tuple[str, object, str]]:
    """Name, default and meaning of each field of a settings struct, in its order."""
    info = msgspec.inspect.type_info(type_)
    assert isinstance(info, msgspec.inspect.StructType)
    rows = []
    for field in info.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata)
        rows.append((field.name, field.default, (field.type.extra_json_schema or {})["description"]))
    return rows
