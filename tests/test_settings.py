"""What the settings promise: an order of precedence, and one helpful line for everything that is wrong."""

import re
from pathlib import Path

import msgspec
import pytest

from proxy.catalogue.known import KNOWN
from proxy.errors import SetupError
from proxy.judge_settings import JudgeSettings
from proxy.settings import (
    ModelSettings,
    Settings,
    UpstreamSettings,
    demo_models,
    load_settings,
    model_settings,
    models_folder,
    override_models,
    split_address,
)
from proxy.settings_table import describe_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "proxy.toml"


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("with_llama_cpp", [True, False])
def test_load_settings_when_nothing_is_given_then_demo_models_are_served_locally(
    with_llama_cpp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if with_llama_cpp else None)
    settings = load_settings(environ={})
    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    places = {"demo-qwen2": "qwen2", "demo-gpt-oss": "gpt-oss"}
    if with_llama_cpp:
        places["demo-gpt-oss-gguf"] = "model-f16.gguf"
    assert {model.id: Path(model.source).name for model in settings.models} == places
    assert settings.cors_origins == [] and settings.api_keys == []


def test_load_settings_when_every_place_sets_a_value_then_flag_wins_over_environment_over_file(config: Path) -> None:
    config.write_text('host = "file"\nport = 1\nmax_queue = 1\n')
    environ = {"PERSONA_PROXY_HOST": "environment", "PERSONA_PROXY_PORT": "2", "HOME": "/somewhere"}
    settings = load_settings(config, environ, {"host": "flag"})
    assert (settings.host, settings.port, settings.max_queue) == ("flag", 2, 1)


def test_load_settings_when_file_lists_models_then_they_replace_the_demo_models(config: Path) -> None:
    local = model_folder(config.parent / "models" / "mine")
    config.write_text(
        '[[models]]\nid = "qwen"\nsource = "Qwen/Qwen2.5-7B-Instruct"\ndevice = "cuda:1"\ndtype = "bfloat16"\n'
        '[[models]]\nsource = "./models/mine"\ncontext_length = 512\n'
        '[[models]]\nsource = "demo-qwen2"\nload = "demand"\nunload_after_s = 90\n'
    )
    assert load_settings(config, {}).models == [
        ModelSettings("qwen", "Qwen/Qwen2.5-7B-Instruct", device="cuda:1", dtype="bfloat16"),
        ModelSettings("mine", str(local), context_length=512),
        msgspec.structs.replace(demo_models()[0], load="demand", unload_after_s=90.0),
    ]


def test_load_settings_when_folders_in_file_are_relative_then_they_start_at_the_file(config: Path) -> None:
    config.write_text('vectors_dir = "v"\ntraits_dir = "~/t"\n')
    settings = load_settings(config, {})
    assert settings.vectors_dir == str(config.parent / "v")
    assert settings.traits_dir == Path.home() / "t"


def test_load_settings_when_vectors_lie_at_a_url_then_it_stays_one(config: Path) -> None:
    config.write_text('vectors_dir = "hf://owner/repo/vectors"\n')
    assert load_settings(config, {}).vector_folders[0] == "hf://owner/repo/vectors"
    assert load_settings(environ={"PERSONA_PROXY_VECTORS_DIR": "memory://v"}).vectors_dir == "memory://v"


def test_load_settings_when_environment_gives_lists_then_commas_separate() -> None:
    environ = {
        "PERSONA_PROXY_API_KEYS": "alpha, beta",
        "PERSONA_PROXY_MODELS": "small=org/small-model,org/big-model",
        "PERSONA_PROXY_KEY_PERSONAS": "alpha=silly,beta=serious",
        "PERSONA_PROXY_ADMIN_KEY": "secret",
    }
    settings = load_settings(environ=environ)
    assert settings.api_keys == ["alpha", "beta"]
    assert settings.models == [
        ModelSettings("small", "org/small-model"),
        ModelSettings("org/big-model", "org/big-model"),
    ]
    assert settings.key_personas == {"alpha": "silly", "beta": "serious"}
    assert settings.admin_key == "secret"


BAD_FILES = {
    "prot = 1": ["prot", "did you mean port?", "possible: host, port"],
    "port = 'x'": ["port: expected int, got str", "0 to 65535"],
    "port = 70000": ["port: expected int <= 65535"],
    "port = true": ["port: expected int, got bool"],
    "port = [": ["is not valid TOML"],
    "max_body_bytes = 10": ["max_body_bytes: expected int >= 1024"],
    "max_queue = 0": ["max_queue: expected int >= 1"],
    "max_batch = 1.5": ["max_batch: expected int, got float"],
    "models = []": ["models: expected array of length >= 1"],
    "models = 'x'": ["models: expected array, got str"],
    "models = [3]": ["models[0]: expected a table"],
    "vectors_dir = 3": ["vectors_dir: expected str, got int"],
    "api_keys = ['']": ["api_keys[0]: expected str of length >= 1"],
    "[[models]]\nid = 'a'": ["models[0]: object missing required field source"],
    "[[models]]\nsource = 'a/b'\ndevise = 'cpu'": ["models[0]: devise", "did you mean device?"],
    "[[models]]\nsource = 'a/b'\ndevice = 'gpu'": ["models[0]: device: not a possible value", "`cuda:1`"],
    "[[models]]\nsource = 'a/b'\ndtype = 'int8'": ["models[0]: dtype: not a possible value", "`bfloat16`"],
    "[[models]]\nsource = 'a/b'\nengine = 'other'": ["models[0]: engine: not a possible value", "`transformers`"],
    "[[models]]\nsource = 'a/b'\ncontext_length = 0": ["models[0]: context_length: expected int >= 1"],
    "[[models]]\nsource = 'a/b'\nid = 'a/b/c'": ["models[0]: id: not a possible value", "one slash at most"],
    "[[models]]\nsource = 'a/b'\nload = 'never'": ["models[0]: load: not a possible value", "on `demand`"],
    "[[models]]\nsource = 'a/b'\nunload_after_s = 0": ["models[0]: unload_after_s: expected float > 0"],
    "[[models]]\nsource = './missing'": ["models[0].source: no such model folder: ./missing"],
    "[[models]]\nsource = 'a/b/c'": ["models[0].source: 'a/b/c' is neither a folder nor a hub name"],
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_load_settings_when_file_is_wrong_then_one_line_names_file_key_and_what_is_possible(
    text: str, config: Path
) -> None:
    config.write_text(text)
    with pytest.raises(SetupError) as caught:
        load_settings(config, {})
    message = caught.value.message
    assert message.startswith(f"{config}: ") and "\n" not in message
    for part in BAD_FILES[text]:
        assert part in message


def test_load_settings_when_file_is_missing_or_unreadable_then_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"nowhere\.toml: no such file"):
        load_settings(tmp_path / "nowhere.toml", {})
    with pytest.raises(SetupError, match="can't be read"):
        load_settings(tmp_path, {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SetupError, match=r"binary\.toml: is not text in UTF-8"):
        load_settings(tmp_path / "binary.toml", {})


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PERSONA_PROXY_PORT", "http", "PERSONA_PROXY_PORT: expected int, got str (The port, 0 to 65535"),
        ("PERSONA_PROXY_PROT", "1", "PERSONA_PROXY_PROT: unknown setting; did you mean PERSONA_PROXY_PORT?"),
        ("PERSONA_PROXY_KEY_PERSONAS", "alpha", "PERSONA_PROXY_KEY_PERSONAS: expected key=persona pairs"),
        ("PERSONA_PROXY_MODELS", "=a/b", "PERSONA_PROXY_MODELS: '=a/b' has no name before '='"),
    ],
)
def test_load_settings_when_variable_is_wrong_then_it_is_named(variable: str, value: str, expected: str) -> None:
    with pytest.raises(SetupError) as caught:
        load_settings(environ={variable: value})
    assert caught.value.message.startswith(expected)


def test_load_settings_when_flag_is_wrong_then_it_is_named() -> None:
    with pytest.raises(SetupError, match="^--port: expected int <= 65535"):
        load_settings(environ={}, flags={"port": "70000"})
    with pytest.raises(SetupError, match="^--api-key: expected str of length >= 1"):
        load_settings(environ={}, flags={"api_keys": [""]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default_model = 'gpt-9'", "default_model: no model 'gpt-9'; possible: demo-qwen2, demo-gpt-oss"),
        ("models = ['a/b', 'a/b']", "models: two have the id 'a/b'"),
        ("vectors_dir = 'nowhere://x'", "vectors_dir: nowhere://x: Protocol not known: nowhere"),
        ("api_keys = ['alpha']\n[key_personas]\nbeta = 'silly'", "key_personas: 1 of the keys"),
    ],
)
def test_load_settings_when_settings_contradict_each_other_then_setup_error(
    text: str, expected: str, config: Path
) -> None:
    config.write_text(text)
    with pytest.raises(SetupError) as caught:
        load_settings(config, {})
    assert caught.value.message.startswith(expected)


def test_model_settings_when_folder_name_or_id_is_given_then_it_says_where_and_what_to_call_it(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine")
    assert model_settings(str(folder)) == ModelSettings("mine", str(folder))
    assert model_settings(f"short={folder}") == ModelSettings("short", str(folder))
    assert model_settings("Qwen/Qwen2.5-7B-Instruct").source == "Qwen/Qwen2.5-7B-Instruct"
    assert model_settings("demo-gpt-oss") == demo_models()[1]


def test_model_settings_when_it_is_a_known_model_then_its_file_in_the_data_folder_unless_a_folder_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = KNOWN["gpt-oss-20b"]
    settings = model_settings("gpt-oss-20b")
    assert (settings.id, settings.source) == (known.id, str(known.place(models_folder())))
    assert model_settings("own=gpt-oss-20b") == msgspec.structs.replace(settings, id="own")
    (tmp_path / "gpt-oss-20b").mkdir()
    (tmp_path / "gpt-oss-20b" / "config.json").write_text("{}")
    assert model_settings("gpt-oss-20b").source == str(tmp_path / "gpt-oss-20b")


def test_model_settings_when_it_can_not_be_a_model_then_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="^--model: no such model folder: /nowhere/at/all"):
        model_settings("/nowhere/at/all")
    with pytest.raises(SetupError, match=r"holds no model: it has no config\.json"):
        model_settings(str(tmp_path))


def test_override_models_when_device_or_dtype_is_given_then_every_model_gets_it() -> None:
    models = [ModelSettings("a", "org/a", device="cuda"), ModelSettings("b", "org/b", dtype="float16")]
    assert override_models(models) == models
    assert override_models(models, device="cpu") == [
        ModelSettings("a", "org/a", device="cpu"),
        ModelSettings("b", "org/b", device="cpu", dtype="float16"),
    ]
    with pytest.raises(SetupError, match="^--device: not a possible value"):
        override_models(models, device="gpu")
    with pytest.raises(SetupError, match="^--dtype: not a possible value"):
        override_models(models, dtype="int4")


def test_override_models_when_an_engine_is_given_then_every_model_here_gets_it() -> None:
    here, far = ModelSettings("a", "org/a"), ModelSettings("b", "http://gpu1:8000/v1#b", "upstream")
    assert override_models([here, far], engine="vllm") == [ModelSettings("a", "org/a", "vllm"), far]
    with pytest.raises(SetupError, match="^--engine: upstream goes with a source that is URL#NAME"):
        override_models([here], engine="upstream")
    with pytest.raises(SetupError, match="^--engine: not a possible value"):
        override_models([here], engine="tgi")


FAR = "http://gpu1:8000/v1 http://gpu2:8000/v1/#Qwen/Qwen2.5-7B"


def test_model_settings_when_other_servers_have_it_then_their_engine_and_its_name_there() -> None:
    assert model_settings(FAR) == ModelSettings("Qwen/Qwen2.5-7B", FAR, "upstream")
    assert model_settings(f"qwen={FAR}") == ModelSettings("qwen", FAR, "upstream")
    urls = ["http://gpu1:8000/v1", "http://gpu2:8000/v1"]
    assert split_address(FAR) == (urls, "Qwen/Qwen2.5-7B")


def test_load_settings_when_the_file_says_how_other_servers_are_asked_then_its_key_file_is_beside_it(
    config: Path,
) -> None:
    table = '[models.upstream]\nkey_file = "keys/far"\ntimeout_s = 9'
    config.write_text(f'[[models]]\nid = "far"\nsource = "{FAR}"\n{table}')
    (model,) = load_settings(config, {}).models
    assert model.upstream == UpstreamSettings(key_file=config.parent / "keys" / "far", timeout_s=9)
    environ = {"PERSONA_PROXY_MODELS": f"a={FAR}, b=http://gpu3/v1#b"}
    assert [each.engine for each in load_settings(None, environ).models] == ["upstream", "upstream"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('source = "http://gpu1/v1"', "is not URL#NAME, such as"),
        ('source = "http://me:sk-secret@gpu1/v1#big"', "http://...@gpu1/v1#big is not URL#NAME"),
        ('source = "http://gpu1/v1#big"\nengine = "transformers"', "engine: transformers can't run"),
        ('source = "org/big"\nengine = "upstream"', "engine: upstream can't run org/big"),
        ('source = "org/big"\n[models.upstream]\ntimeout_s = 3', "upstream: only a model whose source is URL#NAME"),
        (
            'source = "http://gpu1/v1#b"\n[models.upstream]\nkey = "sk"',
            "upstream: key: unknown setting; did you mean",
        ),
        (
            'source = "http://gpu1/v1#b"\n[models.upstream]\ntimeout_s = 0',
            "timeout_s: expected float > 0",
        ),
        ('source = "http://gpu1/v1#b"\n[models.upstream]\nkey_env = "A"\nkey_file = "b"', "either key_env or key_file"),
    ],
)
def test_load_settings_when_other_servers_are_named_wrongly_then_one_line_says_what_is_possible(
    config: Path, table: str, message: str
) -> None:
    config.write_text(f"[[models]]\n{table}")
    with pytest.raises(SetupError) as caught:
        load_settings(config, {})
    assert message in caught.value.message and "sk-secret" not in caught.value.message


JUDGE = '[[judges]]\nname = "big"\nbase_url = "https://api.example/v1"\nmodel = "large"\n'


def test_load_settings_when_file_lists_judges_then_they_have_names_and_no_key_itself(config: Path) -> None:
    config.write_text(JUDGE + 'key_env = "BIG_KEY"')
    assert load_settings(config, {}).judges == [JudgeSettings("big", "https://api.example/v1", "large", "BIG_KEY")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (JUDGE + 'key = "sk-secret"', "judges[0]: key: unknown setting"),
        (JUDGE.replace("api.", "sk-secret@api."), "judges[0]: base_url: not a possible value"),
        (JUDGE.replace("big", "likelihood"), "judges: the name 'likelihood' is taken"),
        (JUDGE.replace("big", "demo-qwen2"), "judges: the name 'demo-qwen2' is taken"),
        (JUDGE + JUDGE, "judges: the name 'big' is taken"),
    ],
)
def test_load_settings_when_a_judge_is_wrong_then_said_without_its_secret(config: Path, text: str, said: str) -> None:
    config.write_text(text)
    with pytest.raises(SetupError) as caught:
        load_settings(config, {})
    assert said in caught.value.message and "sk-secret" not in caught.value.message


def test_describe_settings_when_read_then_every_setting_has_a_row() -> None:
    table = describe_settings()
    for name in Settings.__struct_fields__:
        variable = "none" if name == "judges" else f"`PERSONA_PROXY_{name.upper()}`"
        assert f"| `{name}` | {variable} |" in table
    rows = (ModelSettings, UpstreamSettings, JudgeSettings)
    for name in [name for struct in rows for name in struct.__struct_fields__]:
        assert re.search(rf"^\| `{name}` \|", table, re.MULTILINE)
