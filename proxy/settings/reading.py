"""Where settings come from: a TOML file < PERSONA_PROXY_* < the command line's flags.

Everything wrong with a setting ends here, in a SetupError of one line that names its place and what is possible.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from proxy.catalogue.known import KNOWN
from proxy.errors import SetupError
from proxy.judge_settings import JUDGE_KINDS, JudgeSettings
from proxy.settings.models import GGUF, ModelSettings, engine_of_files, place_of
from proxy.settings.settings import ENVIRONMENT_PREFIX, Settings, fields_of, variable_of
from proxy.settings.upstream import UpstreamSettings, is_address, split_address

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_FILES = [GGUF, ".safetensors", ".bin", ".pt"]  # what ends so, or nearly so, is a file rather than a hub name
_T = TypeVar("_T")


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
    models: Sequence[ModelSettings],
    *,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
) -> list[ModelSettings]:
    """The models with the device, dtype and engine of the command line, where given; what other servers run keeps its
    engine. Raises SetupError naming the flag."""
    flags = {"device": device, "dtype": dtype, "engine": engine}
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    for name, value in given.items():
        _convert({"id": "any", "source": "any", name: value}, ModelSettings, f"--{name}", named=False)
    if engine == "upstream":
        raise SetupError("--engine: upstream goes with a source that is URL#NAME, and needs no flag")
    far = {name: value for name, value in given.items() if name != "engine"}
    return [msgspec.structs.replace(model, **(far if model.engine == "upstream" else given)) for model in models]


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
        name, separator, place = ("", "", raw) if is_address(raw) else _split_name(raw)
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
        if is_address(source):
            fields.setdefault("engine", "upstream")
        elif fields["source"].endswith(GGUF):
            fields.setdefault("engine", engine_of_files())
    place = f"{where}: {key}" if key else where
    if isinstance(fields.get("upstream"), dict):
        fields["upstream"] = _convert(fields["upstream"], UpstreamSettings, f"{place}.upstream")
    model = _convert(fields, ModelSettings, place)
    _check_engine(model, place)
    if model.upstream is None or model.upstream.key_file is None:
        return model
    upstream = msgspec.structs.replace(model.upstream, key_file=base / model.upstream.key_file)
    return msgspec.structs.replace(model, upstream=upstream)


def _split_name(text: str) -> tuple[str, str, str]:
    """`id=source`; a URL may have an equals sign of its own."""
    name, separator, place = text.partition("=")
    return (name, separator, place) if is_address(place) else text.rpartition("=")


def _check_engine(model: ModelSettings, where: str) -> None:
    """SetupError for settings of one kind of engine beside another."""
    elsewhere = is_address(model.source)
    if elsewhere != (model.engine == "upstream"):
        possible = "upstream" if elsewhere else "a source that is URL#NAME, or another engine"
        raise SetupError(f"{where}: engine: {model.engine} can't run {model.source}; possible: {possible}")
    if model.upstream is not None and not elsewhere:
        raise SetupError(f"{where}: upstream: only a model whose source is URL#NAME has it")
    if model.upstream is not None and model.upstream.key_env and model.upstream.key_file:
        raise SetupError(f"{where}: upstream: give either key_env or key_file")


def _locate(source: str, where: str, base: Path) -> tuple[str, str]:
    """A source's id and where it is: a demo or known model's place, a folder or file made absolute, or a hub name as it
    is."""
    if is_address(source):
        address = split_address(source)
        if address is None:
            example = "http://127.0.0.1:8001/v1#Qwen/Qwen2.5-7B-Instruct"
            raise SetupError(f"{where}: {_without_key(source)} is not URL#NAME, such as {example}; a URL holds no key")
        return address[1], source
    folder = base / Path(source).expanduser()
    if (place := place_of(source)) is not None and not (source in KNOWN and folder.is_dir()):
        return source, place
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise SetupError(f"{where}: the folder {folder} holds no model: it has no config.json")
        return folder.resolve().name, str(folder.resolve())
    if source.endswith(GGUF):
        if not folder.is_file():
            raise SetupError(f"{where}: no such GGUF file: {source}")
        return folder.stem, str(folder.resolve())
    if source.startswith((".", "~")) or Path(source).is_absolute():
        raise SetupError(f"{where}: no such model folder: {source}")
    if folder.is_file():
        raise SetupError(f"{where}: {source} is a file, and no GGUF file (*{GGUF}); name a folder, or a hub name")
    ending = folder.suffix.lower()
    if ending[1:].isalpha() and difflib.get_close_matches(ending, _FILES, n=1, cutoff=0.85):
        raise SetupError(f"{where}: no such file: {source}")
    if not _HUB_NAME.fullmatch(source):
        raise SetupError(f"{where}: {source!r} is neither a folder nor a hub name such as Qwen/Qwen2.5-7B-Instruct")
    return source, source


def _without_key(source: str) -> str:
    """The source without what stands before an @, which may be a secret."""
    return re.sub(r"//[^\s/#]*@", "//...@", source)


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
