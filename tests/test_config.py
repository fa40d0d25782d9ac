"""Settings: five layers, one winner, every value with its source, no secret anywhere."""

import json
import os
import subprocess
import sys

import pytest

from qtnb.config.settings import Settings, find_workspace, load_settings, parse_model
from qtnb.config.workspace import init_workspace
from qtnb.core.errors import ConfigError, StorageError
from qtnb.utils.files import ensure_folder, safe_name
from qtnb.utils.logging import configure_logging

CANARY = "canary-5f1c-never-shown"


@pytest.fixture
def space(tmp_path, monkeypatch):
    "An empty workspace, with no QTNB_* variable of the outside in sight."
    for name in [n for n in os.environ if n.upper().startswith("QTNB_")]:
        monkeypatch.delenv(name)
    (tmp_path / "settings.ini").write_text("[workspace]\nname = desk\n")
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_layer_wins_over_the_one_below(space, monkeypatch):
    def calendar():
        settings = load_settings()
        return settings.calendar, next(r.source for r in settings.table() if r.name == "calendar")

    assert calendar() == ("XNYS", "default")
    (space / "settings.ini").write_text("[workspace]\ncalendar = XLON\n")
    assert calendar() == ("XLON", "settings.ini")
    (space / "configs" / "settings.yaml").write_text("calendar: XTKS\n")
    assert calendar() == ("XTKS", "settings.yaml")
    (space / ".env").write_text("QTNB_CALENDAR=XHKG\n")
    assert calendar() == ("XHKG", ".env")
    monkeypatch.setenv("QTNB_CALENDAR", "XPAR")
    assert calendar() == ("XPAR", "environment QTNB_CALENDAR")
    settings = load_settings(calendar="XFRA")
    assert settings.calendar == "XFRA" and next(r.source for r in settings.table() if r.name == "calendar") == "argument"


@pytest.mark.parametrize("layer", ["ini", "yaml", "dotenv", "environment", "argument"])
def test_an_unknown_name_is_met_in_every_layer(space, monkeypatch, layer):
    arguments = {}
    if layer == "ini":
        (space / "settings.ini").write_text("[workspace]\n[folders]\nartefacts = x\n")
    elif layer == "yaml":
        (space / "configs" / "settings.yaml").write_text("artefacts: x\n")
    elif layer == "dotenv":
        (space / ".env").write_text("QTNB_ARTEFACTS=x\n")
    elif layer == "environment":
        monkeypatch.setenv("QTNB_ARTEFACTS", "x")
    else:
        arguments = {"artefacts": "x"}
    with pytest.raises(ConfigError, match="Did you mean 'artifacts'"):
        load_settings(**arguments)


def test_secrets_are_masked_and_never_written(space, monkeypatch, capsys):
    (space / ".env").write_text(f"QTNB_ALPACA_SECRET_KEY={CANARY}\n")
    monkeypatch.setenv("QTNB_POSTGRES_URL", f"postgres://desk:{CANARY}@db/qtnb")
    settings = load_settings()
    shown = repr(settings) + str(settings) + str(settings.table()) + settings.model_dump_json() + json.dumps(settings.environment())
    assert CANARY not in shown and "**********" in shown
    assert settings.secrets()["alpaca_secret_key"] == CANARY
    logger = configure_logging("DEBUG", folder=settings.logs, secrets=settings.secrets().values())
    try:
        raise RuntimeError(f"refused for {CANARY}")
    except RuntimeError:
        logger.exception("with %s", CANARY)
    configure_logging(stream=False)
    assert CANARY not in capsys.readouterr().err + (settings.logs / "qtnb.log").read_text()


@pytest.mark.parametrize("place", ["settings.ini", "configs/settings.yaml"])
def test_a_secret_in_a_committed_file_is_refused(space, place):
    text = {"settings.ini": f"[workspace]\nalpaca_secret_key = {CANARY}\n", "configs/settings.yaml": f"alpaca_secret_key: {CANARY}\n"}[place]
    (space / place).write_text(text)
    with pytest.raises(ConfigError, match="move it to `.env`") as caught:
        load_settings()
    assert CANARY not in str(caught.value)


def test_a_wrong_secret_is_not_shown_in_the_error(space):
    with pytest.raises(ConfigError) as caught:
        load_settings(alpaca_secret_key=[CANARY])
    assert CANARY not in str(caught.value) and "alpaca_secret_key" in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ("[workspace\n", "could not be read"),
    ("name = desk\n", "could not be read"),
    ("[workspace]\n[folderz]\n", "Did you mean 'folders'"),
    ("[workspace]\nbase_currency = dollars\n", "`base_currency`"),
    ("[workspace]\nlake = x\n", "setting of .workspace. 'lake' is not known"),
])
def test_a_broken_settings_file_names_what_is_wrong(space, text, message):
    (space / "settings.ini").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_settings(workspace=space)


@pytest.mark.parametrize("text", ["lake: !!python/object/apply:os.system ['true']\n", "- 1\n", "a: b: c\n", "\x00"])
def test_yaml_is_data_only(space, text):
    (space / "configs" / "settings.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_settings()


def test_the_workspace_is_found_by_walking_up(space, monkeypatch):
    below = space / "a" / "b"
    below.mkdir(parents=True)
    (space / "a" / "settings.ini").write_text("[DEFAULT]\nlib_name = another_tool\n")
    monkeypatch.chdir(below)
    assert find_workspace() == space.resolve() and load_settings().workspace == space.resolve()


def test_without_a_workspace_the_folder_itself_serves_and_stays_empty(tmp_path, monkeypatch):
    monkeypatch.delenv("QTNB_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    if find_workspace() is not None:
        pytest.skip("the temporary folder lies in a workspace")
    assert load_settings().lake == (tmp_path / "data" / "lake").resolve()
    assert list(tmp_path.iterdir()) == []


def test_the_workspace_can_be_named_in_the_environment(space, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("QTNB_WORKSPACE", str(space))
    assert load_settings().name == "desk"
    monkeypatch.setenv("QTNB_WORKSPACE", str(space / "nowhere"))
    with pytest.raises(ConfigError, match="not a folder"):
        load_settings()


def test_settings_are_frozen(space):
    with pytest.raises(Exception, match="frozen"):
        load_settings().lake = "x"  # type: ignore[misc, assignment]


def test_arguments_of_none_mean_not_given(space):
    assert load_settings(calendar=None).calendar == "XNYS"


def test_parse_model_prefers_the_unknown_name():
    with pytest.raises(ConfigError, match="Did you mean 'calendar'"):
        parse_model(Settings, {"calender": "X", "base_currency": "??"})


@pytest.mark.parametrize("name", ["../x", "/x", "x/../y", "x\\y", "", ".", "..", "con", "x\n", "%2e%2e/x", "ｘ", "x" * 300, "-x", "x\0"])
def test_no_name_leads_out_of_its_folder(name):
    with pytest.raises(ConfigError):
        safe_name(name)


def test_a_file_in_place_of_a_folder_is_one_clear_error(tmp_path):
    (tmp_path / "artifacts").write_text("")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        ensure_folder(tmp_path / "artifacts" / "runs", kind="artifacts folder")
    assert caught.value.exit_code == 2


def test_a_new_workspace_works_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("QTNB_WORKSPACE", raising=False)
    made = init_workspace(tmp_path / "my desk")
    root = (tmp_path / "my desk").resolve()
    assert find_workspace(root / "nbs") == root and load_settings(workspace=root).name == "my_desk"
    assert all(p.is_relative_to(root) for p in made)
    assert ".env" in (root / ".gitignore").read_text().splitlines()
    before = {p: p.read_bytes() for p in made}
    with pytest.raises(ConfigError, match="not empty"):
        init_workspace(root)
    assert {p: p.read_bytes() for p in made} == before


def test_the_notebook_of_a_new_workspace_passes_its_own_tests(tmp_path):
    pytest.importorskip("nbdev")
    init_workspace(tmp_path / "desk")
    script = os.path.join(os.path.dirname(sys.executable), "nbdev-test")
    done = subprocess.run([script, "--n-workers", "0"], cwd=tmp_path / "desk", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
