"""Settings: which source wins, what is refused, and what the refusal says."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.config import AppRule, EngineSettings, LaneSettings, Settings
from umad.configuration.options import OPTIONS, SCALARS
from umad.configuration.sources import default_path, load
from umad.errors import BadConfig

NOTHING: dict[str, str] = {"HOME": "/nonexistent"}


def load_yaml(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "umad.yaml"
    path.write_text(text)
    return load(environ=NOTHING, path=path).settings


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(BadConfig) as caught:
        load_yaml(tmp_path, text)
    message = caught.value.message
    assert "\n" not in message
    return message.replace(str(tmp_path) + "/", "")


# -- sources ------------------------------------------------------------------------------------


def test_without_any_source_the_settings_are_the_defaults() -> None:
    loaded = load(environ=NOTHING)

    assert loaded.settings == Settings()
    assert loaded.origins == {}
    assert loaded.path is None


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("ctx_size: 1000\nmax_seqs: 10\nthreads: 1\n")
    environ = NOTHING | {"UMAD_MAX_SEQS": "20", "UMAD_THREADS": "2"}

    loaded = load(environ=environ, flags={"threads": "3"}, path=path)

    engine = loaded.settings.engine
    assert (engine.ctx_size, engine.max_seqs, engine.threads) == (1000, 20, 3)
    assert loaded.origins == {
        "ctx_size": f"{path}:1",
        "max_seqs": "UMAD_MAX_SEQS",
        "threads": "--threads",
    }


def test_every_option_has_the_same_name_in_a_file_a_variable_and_a_flag(tmp_path: Path) -> None:
    for option in OPTIONS:
        spelt = option.name.replace(".", "_")
        assert option.variables[0] == f"UMAD_{spelt.upper()}"
        assert option.flags[0] == f"--{spelt.replace('_', '-')}"
    names = [name for option in OPTIONS for name in option.variables]
    assert len(names) == len(set(names))


def test_every_option_leads_to_a_field_of_the_settings() -> None:
    for option in OPTIONS:
        value: object = Settings()
        for name in option.target:
            value = getattr(value, name)


def test_the_example_of_the_interface_is_read(tmp_path: Path) -> None:
    settings = load_yaml(
        tmp_path,
        """
latency_cap: 1.20
bmt_budget_gbps: auto
qos:
  interactive: {priority: 10}
  background:  {priority: 1}
scheduler:
  max_merge: 4
  preempt_at_token: true
logging:
  scorecard_interval_s: 5
""",
    )

    assert settings.scheduler.max_merge == 4
    assert settings.logging.scorecard_interval_s == 5
    # A floor that is not stated stays: background work must not starve by omission.
    assert settings.qos == Settings().qos


def test_the_documented_sample_is_valid_and_says_the_defaults() -> None:
    sample = Path(__file__).parents[2] / "config" / "umad.yaml"

    loaded = load(environ=NOTHING, path=sample)

    assert loaded.settings == Settings()
    assert set(loaded.origins) > {"latency_cap", "ctx_size", "qos", "max_tokens"}


def test_positions_are_scaled_as_llama_servers_command_lines_say() -> None:
    flags = {
        "ctx_size": "131072",
        "rope_scaling": "yarn",
        "rope_scale": "4",
        "yarn_orig_ctx": "32768",
        "yarn_ext_factor": "-1.0",
        "yarn_beta_fast": "32.0",
    }

    engine = load(environ=NOTHING, flags=flags).settings.engine

    assert (engine.rope_scaling, engine.rope_scale, engine.yarn_orig_ctx) == ("yarn", 4.0, 32768)
    assert (engine.yarn_ext_factor, engine.yarn_beta_fast) == (None, 32.0)


def test_what_llama_server_takes_for_the_files_own_value_is_auto() -> None:
    flags = {"rope_freq_base": "0.0", "rope_freq_scale": "0", "yarn_orig_ctx": "0", "ctx_size": "0"}

    assert load(environ=NOTHING, flags=flags).settings == Settings()


def test_a_flag_takes_back_the_scaling_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("rope_scaling: yarn\nrope_scale: 4\nswa_full: on\n")

    loaded = load(environ=NOTHING, flags={"rope_scaling": "auto", "rope_scale": "auto"}, path=path)

    assert loaded.settings.engine == EngineSettings(swa_full="on")


def test_an_empty_file_and_an_empty_variable_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("# only a comment\n")

    loaded = load(environ=NOTHING | {"UMAD_SOCKET": "", "UMAD_CTX_SIZE": ""}, path=path)

    assert loaded.settings == Settings()


def test_lanes_and_apps_may_stand_in_a_variable() -> None:
    environ = NOTHING | {
        "UMAD_QOS": "{batch: {priority: 0, floor: 0.1}}",
        "UMAD_APPS": "{code: interactive, indexer: batch}",
        "UMAD_MODEL": "[nano, /models/other.gguf]",
    }

    settings = load(environ=environ).settings

    assert settings.qos["batch"] == LaneSettings(priority=0, floor=0.1)
    assert settings.apps == (
        AppRule(app="code", lane="interactive"),
        AppRule(app="indexer", lane="batch"),
    )
    assert settings.models == ("nano", "/models/other.gguf")


def test_an_app_may_have_a_cap_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text(
        "apps:\n  zed: {latency_cap: 1.1}\n  /opt/*/index: {lane: background, latency_cap: 3}\n"
    )

    settings = load(environ=NOTHING, path=path).settings

    assert settings.apps == (
        AppRule(app="zed", latency_cap=1.1),
        AppRule(app="/opt/*/index", lane="background", latency_cap=3.0),
    )


@pytest.mark.parametrize(
    ("text", "gbps"),
    [
        ("320GBps", 320.0),
        ("320", 320.0),
        ("0.5 TB/s", 500.0),
        ("800mbps", 0.8),
        ("auto", "auto"),
    ],
)
def test_a_budget_is_read_with_its_unit(tmp_path: Path, text: str, gbps: float | str) -> None:
    in_file = load_yaml(tmp_path, f"bmt_budget_gbps: {text}").bmt_budget_gbps
    in_variable = load(environ=NOTHING | {"UMAD_BMT_BUDGET": text}).settings.bmt_budget_gbps

    assert in_file == in_variable == gbps


def test_words_stand_for_no_number(tmp_path: Path) -> None:
    settings = load_yaml(tmp_path, "threads: auto\ngpu_layers: all\nlimits: {prompt_tokens: none}")

    assert settings.engine.threads is None
    assert settings.engine.gpu_layers == -1
    assert settings.limits.prompt_tokens is None


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\nlatncy_cap: 1.2", "umad.yaml:3: unknown key 'latncy_cap'; did you mean"),
        ("latncy_cap: 1.2", "did you mean 'latency_cap'?"),
        ("scheduler:\n  slice: 5", "umad.yaml:2: unknown key 'scheduler.slice'; did you mean"),
        ("slice_ms: 5", "did you mean 'scheduler.slice_ms'?"),
        ("zzz: 5", "`umad config show` lists every key"),
        ("qos:\n  a: {prio: 1}", "umad.yaml:2: unknown key 'qos.a.prio'; did you mean 'priority'?"),
        ("a: 1\na: 2", "unknown key 'a'"),
        ("threads: 1\nthreads: 2", "umad.yaml:2: threads is given twice, first in "),
        (
            "bmt_budget: 1\nbmt_budget_gbps: 2",
            "umad.yaml:2: bmt_budget_gbps is given twice, first in umad.yaml:1",
        ),
        ("qos: {a: {priority: 1}, a: {priority: 2}}", "umad.yaml:1: qos.a is given twice"),
        ("latency_cap: 0.9", "umad.yaml:1: latency_cap must be a number from 1 to 100, not '0.9'"),
        ("latency_cap: .nan", "latency_cap must be a number"),
        ("bmt_budget_gbps: 0", "bmt_budget_gbps must be auto, or a rate above zero"),
        ("bmt_budget_gbps: -3", "bmt_budget_gbps must be auto, or a rate above zero"),
        ("kv_type: q5", "kv_type must be one of f16, q8, q6, q4, not 'q5'"),
        (
            "ctx_size: many",
            "ctx_size must be a whole number from 256 to 16777216, or auto",
        ),
        ("park_bytes: 1", "park_bytes must be auto, 0 for none, or a size from 1MiB"),
        ("park_bytes: 9000GiB", "park_bytes must be auto, 0 for none, or a size from 1MiB"),
        ("ctx_size: 8192.5", "ctx_size must be a whole number"),
        ("ctx_size: true", "ctx_size must be a whole number"),
        (
            "ctx_size: [1]",
            "ctx_size must be a whole number from 256 to 16777216, or auto",
        ),
        ("mmap: maybe", "mmap must be true or false, not 'maybe'"),
        ("max_seqs: 257", "max_seqs must be a whole number from 1 to 256"),
        ("limits: {frame_bytes: 3 parsecs}", "limits.frame_bytes must be a size"),
        ("qos:\n  lonely: {floor: 0.1}", "umad.yaml:2: lane 'lonely' has no priority"),
        ("qos:\n  background: {}", "umad.yaml:2: lane 'background' has no priority"),
        ("qos:\n  a: {priority: high}", "qos.a.priority must be a whole number"),
        ("qos: {A b: {priority: 1}}", "a lane must be a lane's name"),
        ("qos: 3", "umad.yaml:1: qos must be a map"),
        ("qos: {a: {priority: 1, floor: 0.6}, b: {priority: 1, floor: 0.6}}", "floors of all"),
        ("apps: {code: fast}", "umad.yaml:1: app 'code' has no lane 'fast'; there are background"),
        ("apps:\n  code: interactive\n  zed: {lane: fast}", "umad.yaml:3: app 'zed' has no lane"),
        ("apps: {zed: {lane: backgroud}}", "did you mean 'background'?"),
        ("apps:\n  zed: {latency_cap: 0.9}", "umad.yaml:2: apps.zed.latency_cap must be a number"),
        ("apps:\n  zed: {latncy_cap: 2}", "umad.yaml:2: unknown key 'apps.zed.latncy_cap'; did"),
        ("apps:\n  zed: {}", "umad.yaml:2: apps.zed says nothing; give it a lane or a latency_cap"),
        ("apps: {zed: [1]}", "umad.yaml:1: apps.zed must be a map"),
        ("default_lane: fast", "umad.yaml:1: no lane 'fast'; there are background, interactive"),
        ("model: []", "model must name at least one model"),
        ("batch: 64\nubatch: 128", "umad.yaml:2: ubatch (128) must not be above batch (64)"),
        (
            "ctx_size: 512\nctx_per_stream: 4096",
            "umad.yaml:2: ctx_per_stream (4096) must not be above ctx_size (512)",
        ),
        (
            "ctx_per_stream: 9000\nctx_size: 8192",
            "umad.yaml:1: ctx_per_stream (9000) must not be above ctx_size (8192)",
        ),
        (
            "rope_scale: 4\nrope_freq_scale: 0.25",
            "umad.yaml:1: rope_scale and rope_freq_scale say the same thing",
        ),
        ("rope_scaling: none\nrope_freq_scale: 0.5", "umad.yaml:2: rope_freq_scale scales, and"),
        ("rope_scaling: linear\nyarn_orig_ctx: 4096", "umad.yaml:2: yarn_orig_ctx is for YaRN"),
        ("rope_scaling: dynamic", "rope_scaling must be one of auto, none, linear, yarn"),
        ("rope_scale: 0.5", "rope_scale must be a number from 1 to 1000, or auto"),
        ("yarn_ext_factor: 2", "yarn_ext_factor must be a number from 0 to 1, or auto"),
        ("swa_full: maybe", "swa_full must be one of auto, on, off"),
        ("ctx_per_stream: 0", "ctx_per_stream must be a whole number from 16 to 16777216, or auto"),
        ("cors_origin: 'null'", "cors_origin must be an origin such as https://example.org, app:"),
        ("cors_origin: http://localhost*", "cors_origin must be an origin such as"),
        ("batch: 64", "umad.yaml:1: ubatch (512) must not be above batch (64)"),
        ("kv_type: q8\nflash_attention: no", "umad.yaml:2: kv_type q8 needs flash_attention"),
        ("- a list", "umad.yaml:1: the file must be a map"),
        ("scheduler: 5", "umad.yaml:1: scheduler must be a map"),
        ("a: {", "umad.yaml:1: not YAML"),
        ("[" * 20_000, "umad.yaml: not YAML: nested too deeply"),
        ("ctx_size: 512\n? [a]\n: 2", "umad.yaml:2: a key is a word"),
        ("\x07: 1", "umad.yaml: not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, text)


@pytest.mark.parametrize("variable", ["UMAD_QOS", "UMAD_MODEL"])
def test_a_variable_nested_too_deeply_is_refused(variable: str) -> None:
    with pytest.raises(BadConfig, match=rf"^{variable}: not YAML: nested too deeply"):
        load(environ=NOTHING | {variable: "[" * 20_000})


def test_a_wrong_variable_or_flag_is_named() -> None:
    with pytest.raises(BadConfig, match=r"^UMAD_CTX_SIZE: ctx_size must be a whole number"):
        load(environ=NOTHING | {"UMAD_CTX_SIZE": "lots"})
    with pytest.raises(BadConfig, match=r"^--latency-cap: latency_cap must be a number from 1"):
        load(environ=NOTHING, flags={"latency_cap": "0"})
    with pytest.raises(BadConfig, match=r"^UMAD_QOS: lane 'a' has no priority"):
        load(environ=NOTHING | {"UMAD_QOS": "{a: {}}"})
    with pytest.raises(BadConfig, match=r"^UMAD_QOS: not YAML"):
        load(environ=NOTHING | {"UMAD_QOS": "{a: "})


@pytest.mark.parametrize("name", ["logging.file", "socket", "llama_library", "session_dir"])
def test_the_home_of_nobody_is_refused_where_it_was_written(tmp_path: Path, name: str) -> None:
    group, _, key = name.rpartition(".")
    text = f"{key}: ~nobody-of-that-name/x\n"

    said = refusal(tmp_path, f"{group}:\n  {text}" if group else text)

    assert said.startswith(f"umad.yaml:{2 if group else 1}: {name} must be a path")


def test_backends_are_read_from_all_three_places(tmp_path: Path) -> None:
    file = tmp_path / "umad.yaml"
    file.write_text("backends: [/opt/a.so, /opt/b.so]\ndevice: Vulkan0\n")

    in_file = load(environ=NOTHING, path=file).settings
    in_variable = load(environ=NOTHING | {"UMAD_BACKENDS": "/opt/a.so,/opt/b.so"}).settings
    in_flag = load(environ=NOTHING, flags={"backends": "/opt/a.so", "device": "none"}).settings

    assert in_file.backends == in_variable.backends == ("/opt/a.so", "/opt/b.so")
    assert in_file.engine.device == "Vulkan0"
    assert in_variable.engine.device is None
    assert (in_flag.backends, in_flag.engine.device) == (("/opt/a.so",), "none")


def test_a_slip_in_a_variables_name_is_refused_and_a_strangers_variable_is_not() -> None:
    with pytest.raises(BadConfig, match="did you mean UMAD_LATENCY_CAP"):
        load(environ=NOTHING | {"UMAD_LATENCY_CAPS": "1.2"})

    load(environ=NOTHING | {"UMAD_MY_TEAMS_OWN_THING": "1", "UMAD_MODELS": "/models"})


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"

    with pytest.raises(BadConfig, match="no such file"):
        load(environ=NOTHING, path=missing)
    with pytest.raises(BadConfig, match="no such file"):
        load(environ=NOTHING | {"UMAD_CONFIG": str(missing)})


def test_a_file_that_cannot_be_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"

    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadConfig, match="not UTF-8"):
        load(environ=NOTHING, path=path)
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(BadConfig, match="at most"):
        load(environ=NOTHING, path=path)
    with pytest.raises(BadConfig, match="cannot be read"):
        load(environ=NOTHING, path=tmp_path)


@given(name=st.sampled_from([option.name for option in SCALARS]), text=st.text(max_size=12))
def test_any_text_is_read_or_refused_by_name(name: str, text: str) -> None:
    try:
        load(environ=NOTHING, flags={name: text})
        refused = None
    except BadConfig as error:
        refused = error

    assert refused is None or refused.field is not None


# -- places -------------------------------------------------------------------------------------


def test_the_platform_says_where_the_file_lies() -> None:
    home = {"HOME": "/home/ada"}

    assert default_path(home, platform="linux") == Path("/home/ada/.config/umad/umad.yaml")
    assert default_path(home, platform="darwin") == Path(
        "/home/ada/Library/Application Support/umad/umad.yaml"
    )
    assert default_path(home | {"XDG_CONFIG_HOME": "/etc/ada"}, platform="linux") == Path(
        "/etc/ada/umad/umad.yaml"
    )
    # The specification has relative paths ignored.
    assert default_path(home | {"XDG_CONFIG_HOME": "etc"}, platform="linux") == Path(
        "/home/ada/.config/umad/umad.yaml"
    )


def test_the_default_file_is_read_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / ".config" / "umad" / "umad.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("latency_cap: 2")

    loaded = load(environ={"HOME": str(tmp_path)}, platform="linux")

    assert loaded.settings.latency_cap == 2
    assert loaded.path == path


# -- models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("keep_alive: 90", (("*", 90.0),)),
        ("keep_alive: 1.5h", (("*", 5400.0),)),
        ("keep_alive: -1", (("*", math.inf),)),
        ("keep_alive: -5m", (("*", math.inf),)),
        # What a map does not say of all models stays the default.
        ("keep_alive: {nano: -1}", (("nano", math.inf), ("*", 1800.0))),
        ("keep_alive: {'*': 0, nano: -1}", (("*", 0.0), ("nano", math.inf))),
    ],
)
def test_times_of_models_are_read_in_every_form(
    tmp_path: Path, text: str, rules: tuple[tuple[str, float], ...]
) -> None:
    assert load_yaml(tmp_path, text).keep_alive == rules


@pytest.mark.parametrize(
    ("variable", "rules"),
    [("10m", (("*", 600.0),)), ("{nano: -1, '*': 60}", (("nano", math.inf), ("*", 60.0)))],
)
def test_times_of_models_are_read_from_a_variable(
    variable: str, rules: tuple[tuple[str, float], ...]
) -> None:
    environ = NOTHING | {"UMAD_KEEP_ALIVE": variable}

    assert load(environ=environ).settings.keep_alive == rules


@pytest.mark.parametrize("text", ["soon", "1d", "1h30m", "11000000000", "[5m]"])
def test_what_is_no_time_is_refused_at_its_line(tmp_path: Path, text: str) -> None:
    said = refusal(tmp_path, f"ctx_size: 4096\nkeep_alive: {text}")

    assert said.startswith("umad.yaml:2: keep_alive must be a time such as 30m")


def test_a_time_of_one_model_is_refused_by_its_name(tmp_path: Path) -> None:
    assert "keep_alive.nano must be a time" in refusal(tmp_path, "keep_alive: {nano: soon}")


def test_more_models_at_the_start_than_may_be_loaded_are_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "model: [nano, a.gguf]\npreload: [b.gguf]\nmax_models: 2")

    assert said == (
        "umad.yaml:3: max_models (2) must not be below the 3 models that model and preload name"
    )
