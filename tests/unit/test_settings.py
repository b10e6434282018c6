"""The settings: their defaults, the order of the sources, and one clear line for what is wrong."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from cloudq_tui.errors import SettingsError
from cloudq_tui.settings import (
    PLATFORM_QUEUES,
    AlertSettings,
    LayeredSettings,
    QueueAlerts,
    RedisSettings,
    Section,
    Settings,
    load_settings,
    load_settings_as,
    read_secret,
)
from tasks.settings import load_platform_settings

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
PASSWORD = "p4ss-of-nobody"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable, file or folder of the person who runs the tests."""
    for name in list(os.environ):
        if name.upper().startswith(("CLOUDQ_", "REDIS_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def problem(config: Path | None = None, **overrides: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(config, **overrides)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def written(text: str, path: str = "config.yaml") -> Path:
    Path(path).write_text(text)
    return Path(path)


# --- defaults -----------------------------------------------------------------------------------------
def test_without_anything_redis_is_embedded_and_the_eight_queues_are_there(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.redis.is_embedded
    assert settings.redis.data_dir == tmp_path / "home/.local/share/cloudq-tui/redis"
    assert settings.redis.address == f"embedded ({settings.redis.data_dir})"
    assert list(settings.queues) == list(PLATFORM_QUEUES)
    assert len(settings.queues) == 8
    assert settings == Settings()


def test_queue_defaults_are_the_platforms() -> None:
    queues = load_settings().queues
    email = queues["email"]
    assert email.limiter
    assert (email.retries, email.limiter.max, email.limiter.duration) == (3, 100, 1000)
    assert [email.backoff.wait(n) for n in (1, 2, 3)] == [0, 2000, 4000]
    retention = email.retention
    assert (retention.completed_age, retention.completed_count, retention.failed_age) == (86400, 1000, 604800)
    assert {name: queue.concurrency for name, queue in queues.items() if queue.concurrency} == {
        "device-operation": 4,
        "data-export": 2,
        "report-generation": 2,
        "image-processing": 2,
        "log-processing": 2,
    }


def test_the_data_folder_follows_xdg_when_that_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings().redis.data_dir == tmp_path / "cloudq-tui/redis"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert Settings().redis.data_dir == tmp_path / "home/.local/share/cloudq-tui/redis"


def test_every_field_is_documented() -> None:
    def undocumented(model: type[BaseModel]) -> list[str]:
        return [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]

    from cloudq_tui import settings

    models = [kind for kind in vars(settings).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    ours = [kind for kind in models if kind.__module__.startswith(f"{settings.__name__}.")]
    assert len(ours) > 8
    assert [gap for kind in ours for gap in undocumented(kind)] == []


# --- order of the sources -------------------------------------------------------------------------------
def test_each_source_wins_over_the_one_below(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "CLOUDQ_API__PORT"
    assert load_settings().api.port == 30001
    written("api: {port: 1}")
    assert load_settings().api.port == 1
    written(f"{key}=2", ".env")
    assert load_settings().api.port == 2
    monkeypatch.setenv(key, "3")
    assert load_settings().api.port == 3
    assert load_settings(api={"port": 4}).api.port == 4
    assert load_settings(api={"port": None}).api.port == 3


def test_the_first_config_file_found_is_the_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home/.config/cloudq-tui"
    home.mkdir(parents=True)
    written("dashboard: {profile: users}", str(home / "config.yaml"))
    assert load_settings().dashboard.profile == "users"
    elsewhere = tmp_path / "xdg/cloudq-tui"
    elsewhere.mkdir(parents=True)
    written("dashboard: {profile: xdg}", str(elsewhere / "config.yaml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert load_settings().dashboard.profile == "xdg"
    written("dashboard: {profile: here}")
    assert load_settings().dashboard.profile == "here"
    monkeypatch.setenv("CLOUDQ_CONFIG", str(written("dashboard: {profile: variable}", "b.yaml")))
    assert load_settings().dashboard.profile == "variable"
    assert load_settings(written("dashboard: {profile: flag}", "c.yaml")).dashboard.profile == "flag"


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem(Path("gone.yaml")) == "gone.yaml: No such file or directory"
    monkeypatch.setenv("CLOUDQ_CONFIG", "missing.yaml")
    assert problem() == "missing.yaml: No such file or directory"


def test_a_model_built_directly_reads_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDQ_API__PORT", "3")
    written("api: {port: 1}")
    assert Settings().api.port == 30001


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "")
    monkeypatch.setenv("CLOUDQ_API__PORT", "")
    assert load_settings() == Settings()


def test_sections_with_only_a_heading_are_defaults() -> None:
    written("redis:\nqueues:\n  email:\nworker:\n")
    assert load_settings() == Settings()


# --- Redis ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("variable", "value", "address"),
    [
        ("REDIS_URL", "redis://h:7/3", "redis://h:7/3"),
        ("REDIS_URL", "redis://h", "redis://h:6379/1"),
        ("REDIS_URL", "rediss://h/0", "rediss://h:6379/0"),
        ("REDIS_URL", "redis://h?db=4", "redis://h:6379/4"),
        ("REDIS_URL", f"redis://user:{PASSWORD}@[::1]:7", "redis://::1:7/1"),
        ("REDIS_URL", "unix:///run/r.sock?db=2", "unix:/run/r.sock, database 2"),
        ("REDIS_HOST", "h", "redis://h:6379/1"),
        ("REDIS_PORT", "7000", "redis://localhost:7000/1"),
        ("REDIS_PASSWORD", PASSWORD, "redis://localhost:6379/1"),
        ("REDIS_QUEUE_DB", "0", "redis://localhost:6379/0"),
        ("CLOUDQ_REDIS__TLS", "true", "rediss://localhost:6379/1"),
        ("CLOUDQ_REDIS__CLUSTER", "true", "redis://localhost:6379 (cluster)"),
    ],
)
def test_any_of_these_variables_means_a_real_server(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, address: str
) -> None:
    monkeypatch.setenv(variable, value)
    redis = load_settings().redis
    assert not redis.is_embedded
    assert redis.address == address


def test_the_same_variables_are_read_from_dotenv() -> None:
    written("REDIS_HOST=h\nREDIS_QUEUE_DB=5", ".env")
    assert load_settings().redis.address == "redis://h:6379/5"


def test_what_a_url_says_wins_over_the_single_keys() -> None:
    redis = RedisSettings(url="redis://me:p%40w@h:7/3", host="other", port=1, db=9, username="x")
    assert redis.password
    assert (redis.host, redis.port, redis.db, redis.username) == ("h", 7, 3, "me")
    assert redis.password.get_secret_value() == "p@w"
    assert RedisSettings(url="redis://h", db=9).db == 9


def test_a_source_that_names_a_server_replaces_the_one_below(monkeypatch: pytest.MonkeyPatch) -> None:
    written("redis: {url: 'redis://file:7/3'}")
    monkeypatch.setenv("REDIS_HOST", "variable")
    assert load_settings().redis.address == "redis://variable:6379/1"
    written("redis: {sentinel: {hosts: [s1]}}")
    assert load_settings().redis.sentinel is None


def test_a_cluster_has_no_database() -> None:
    assert RedisSettings(cluster=True, host="h", db=4).db == 0


def test_sentinels_are_read_from_a_list_or_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDQ_REDIS__SENTINEL__HOSTS", "s1, s2:26380")
    redis = load_settings().redis
    assert redis.sentinel
    assert redis.sentinel.addresses == (("s1", 26379), ("s2", 26380))
    assert redis.address == "sentinel mymaster/1 via s1, s2:26380"


def test_certificates_without_tls_are_a_mistake() -> None:
    assert "need tls" in problem(redis={"tls_ca": "ca.pem"})
    assert "go together" in problem(redis={"tls": True, "tls_cert": "c.pem"})
    redis = load_settings(redis={"url": "rediss://h", "tls_ca": "~/ca.pem"}).redis
    assert redis.tls_ca == Path.home() / "ca.pem"


def test_embedded_can_be_forced_and_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem(redis={"embedded": "never"}) == (
        "redis: embedded is 'never' but no server is named: set REDIS_URL or redis.host (the flags)"
    )
    monkeypatch.setenv("REDIS_HOST", "h")
    assert not load_settings(redis={"embedded": "never"}).redis.is_embedded
    assert load_settings(redis={"embedded": "always"}).redis.is_embedded


def test_a_password_can_stand_in_a_file() -> None:
    Path("secret").write_text(f"{PASSWORD}\n")
    redis = load_settings(redis={"password_file": "secret"}).redis
    assert redis.password
    assert redis.password.get_secret_value() == PASSWORD
    assert not redis.is_embedded
    assert problem(redis={"password_file": "gone"}) == "redis.password_file: gone: No such file or directory"
    Path("empty").touch()
    with pytest.raises(SettingsError, match="the file is empty"):
        read_secret("x", Path("empty"))


# --- secrets --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "redis",
    [
        {"url": f"redis://user:{PASSWORD}/with-a-slash@h"},
        {"url": f"redis://user:{PASSWORD}@h:port"},
        {"url": f"http://user:{PASSWORD}@h"},
        {"url": f"redis://user:{PASSWORD}@h/1?unknown=1"},
        {"password": PASSWORD, "port": "x"},
        {"password": [PASSWORD]},
        {PASSWORD: {"password": 1}} | {"password": {"x": PASSWORD}},
    ],
)
def test_an_error_never_tells_a_secret(redis: dict[str, Any]) -> None:
    shown = problem(redis={key: value for key, value in redis.items() if key != PASSWORD})
    assert PASSWORD not in shown
    with pytest.raises(ValidationError) as refused:
        Settings(redis=redis)
    assert f"={PASSWORD}" not in str(refused.value)
    assert f"'{PASSWORD}" not in str(refused.value)


def test_settings_never_show_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://user:{PASSWORD}@h")
    monkeypatch.setenv("CLOUDQ_REDIS__SENTINEL__PASSWORD", PASSWORD)
    monkeypatch.delenv("CLOUDQ_REDIS__SENTINEL__PASSWORD")
    settings = load_settings()
    for text in (repr(settings), str(settings), settings.redis.address, settings.model_dump_json()):
        assert PASSWORD not in text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"redis: {{password: {PASSWORD}}}", "redis.password"),
        (f"redis: {{url: 'redis://:{PASSWORD}@h'}}", "redis.url"),
        (f"redis: {{sentinel: {{hosts: [s], password: {PASSWORD}}}}}", "redis.sentinel.password"),
    ],
)
def test_a_secret_in_the_config_file_is_refused(text: str, key: str) -> None:
    written(text)
    assert problem() == f"{key}: a secret belongs in the environment or a file of its own (config.yaml)"


def test_broken_yaml_is_told_by_its_place_alone() -> None:
    written(f"redis:\n  password: *{PASSWORD}\n")
    assert problem() == "config.yaml: not valid YAML at line 2, column 13"
    written("- a\n- b\n")
    assert problem() == "config.yaml: the file must hold sections, such as `redis:`"
    Path("config.yaml").write_bytes(b"\xff\xfe\xff")
    assert problem() == "config.yaml: not UTF-8 text"


# --- errors name key, problem and place -----------------------------------------------------------------
def test_an_error_names_the_file_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    written("queues: {device-operation: {limiter: {max: 0}}}")
    assert problem() == (
        "queues.device-operation.limiter.max: input should be greater than or equal to 1 (config.yaml)"
    )
    written("")
    written("REDIS_PORT=x", ".env")
    assert problem().startswith("redis.port: input should be a valid integer")
    assert problem().endswith("(REDIS_PORT in .env)")
    monkeypatch.setenv("CLOUDQ_REDIS__PORT", "y")
    assert problem().endswith("(CLOUDQ_REDIS__PORT in the environment)")
    monkeypatch.setenv("CLOUDQ_REDIS__PORT", "1")
    monkeypatch.setenv("CLOUDQ_QUEUES__DEVICE_OPERATION__RETRIES", "many")
    assert problem().endswith("(CLOUDQ_QUEUES__DEVICE_OPERATION__RETRIES in the environment)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queues: 5", "queues: input should be a valid dictionary (config.yaml)"),
        (
            "queues: {true: {retries: x}}",
            "queues.True.retries: input should be a valid integer, unable to parse string as an integer (config.yaml)",
        ),
        ("redis: {5: 6}", "redis.5: unknown key (config.yaml)"),
        (
            "redis: {url: 'redis://[::1'}",
            (
                "redis.url: must be redis://[user:password@]host[:port][/database]; "
                "percent-encode special characters (config.yaml)"
            ),
        ),
        (
            "redis: {url: 'redis://u:p@[::1'}",
            "redis.url: a secret belongs in the environment or a file of its own (config.yaml)",
        ),
        ("[" * 5000, "config.yaml: nested too deeply"),
        ("redis: &own {url: *own}", "config.yaml: nested too deeply"),
    ],
)
def test_a_file_of_odd_shapes_is_told_in_one_line(text: str, said: str) -> None:
    written(text)
    assert problem() == said


def test_a_queue_may_have_a_number_for_a_name() -> None:
    written("queues: {7: {retries: 1}}")
    assert load_settings().queues["7"].retries == 1


@pytest.mark.parametrize("key", ["redis.hots", "queues.email.retry", "worker.leases", "alerts.wait", "api.tokens"])
def test_unknown_keys_of_the_core_are_refused(key: str) -> None:
    tree: Any = 1
    for part in reversed(key.split(".")):
        tree = {part: tree}
    written(yaml.safe_dump(tree))
    assert problem() == f"{key}: unknown key (config.yaml)"


def test_unknown_sections_are_anothers() -> None:
    written("smtp: {host: mail.example.com}\napi: {port: 1}")
    assert load_settings().api.port == 1


def test_a_section_that_looks_like_one_of_ours_is_refused() -> None:
    written("redsi: {host: queue.example.com}")
    assert problem() == "redsi: unknown key; redis is one (config.yaml)"


def test_a_section_that_nobody_reads_is_refused_where_all_are_known() -> None:
    written("api: {port: 1}\nsmtp: {host: mail.example.com}")
    assert load_platform_settings().smtp.host == "mail.example.com"
    written("mail: {host: mail.example.com}")
    with pytest.raises(SettingsError, match=r"^mail: unknown key; email is one \(config\.yaml\)$"):
        load_platform_settings()
    written("bogus: 1")
    with pytest.raises(SettingsError, match=r"^bogus: unknown key \(config\.yaml\)$"):
        load_platform_settings()


@pytest.mark.parametrize("variable", ["CLOUDQ_REDSI__HOST", "cloudq_redsi__host", "CLOUDQ_REDSI", "CLOUDQ_REDSI__A__B"])
def test_a_variable_that_looks_like_one_of_ours_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    written(f"{variable}=queue.example.com", ".env")
    assert problem() == f"redsi: unknown key; redis is one ({variable.upper()} in .env)"
    written("", ".env")
    monkeypatch.setenv(variable, "queue.example.com")
    assert problem() == f"redsi: unknown key; redis is one ({variable.upper()} in the environment)"
    with pytest.raises(SettingsError, match=r"^redsi: unknown key; redis is one \("):
        load_platform_settings()


def test_a_variable_that_nobody_reads_is_refused_where_all_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDQ_BOGUS__HOST", "x")
    assert load_settings() == Settings()
    with pytest.raises(SettingsError, match=r"^bogus: unknown key \(CLOUDQ_BOGUS__HOST in the environment\)$"):
        load_platform_settings()


def test_variables_that_are_no_settings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the tests' own, and what an orchestrator tells of a service named cloudq-dashboard."""
    names = (
        "TEST_REDIS",
        "EXAMPLES",
        "FULL",
        "PARENT_PIPE",
        "PORT",
        "SERVICE_HOST",
        "REDIS_PORT",
        "DASHBOARD_PORT",
    )
    for name in names:
        monkeypatch.setenv(f"CLOUDQ_{name}", "x")
    assert load_settings() == Settings()
    load_platform_settings()


def test_the_consumer_tells_a_wrong_setting_in_one_line() -> None:
    command = [sys.executable, "-m", "huey.bin.huey_consumer", "tasks.huey"]
    environment = {**os.environ, "CLOUDQ_SMTP__PORT": "many", "PYTHONPATH": str(EXAMPLE.parent)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    problem = "smtp.port: input should be a valid integer, unable to parse string as an integer"
    assert ended.stderr == f"tasks.huey: {problem} (CLOUDQ_SMTP__PORT in the environment)\n"
    assert ended.returncode == 1


def test_json_that_cannot_be_read_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDQ_REDIS", PASSWORD)
    wrong = "redis: must be JSON, or one CLOUDQ_REDIS__KEY per key (CLOUDQ_REDIS in the environment)"
    assert problem() == wrong


# --- queues ---------------------------------------------------------------------------------------------
def test_a_partial_queue_changes_only_what_it_names() -> None:
    written("queues: {data-export: {retries: 9}, email: {limiter: {max: 5}}, mine: {internal: true}}")
    queues = load_settings().queues
    assert (queues["data-export"].retries, queues["data-export"].concurrency) == (9, 2)
    assert queues["email"].limiter
    assert (queues["email"].limiter.max, queues["email"].limiter.duration) == (5, 1000)
    assert set(queues) == {*PLATFORM_QUEUES, "mine"}
    assert queues["mine"].internal


def test_a_queue_can_be_dropped_and_a_limiter_switched_off() -> None:
    written("queues: {email: false, sms: {limiter: null}}")
    queues = load_settings().queues
    assert "email" not in queues
    assert queues["sms"].limiter is None


def test_sources_meet_inside_one_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    written("queues: {device-operation: {retries: 9, concurrency: 7}, my-queue: {retries: 1}}")
    monkeypatch.setenv("CLOUDQ_QUEUES__DEVICE_OPERATION__CONCURRENCY", "8")
    monkeypatch.setenv("CLOUDQ_QUEUES__MY_QUEUE__RETRIES", "2")
    monkeypatch.setenv("CLOUDQ_QUEUES__SMS__LIMITER", "null")
    queues = load_settings().queues
    assert (queues["device-operation"].retries, queues["device-operation"].concurrency) == (9, 8)
    assert queues["my-queue"].retries == 2
    assert queues["sms"].limiter is None
    assert set(queues) == {*PLATFORM_QUEUES, "my-queue"}


def test_bulls_attempts_are_read_as_retries_and_said(caplog: pytest.LogCaptureFixture) -> None:
    written("queues: {email: {attempts: 5}}")
    with caplog.at_level(logging.WARNING):
        assert load_settings().queues["email"].retries == 5
    assert "queues.email.attempts is read as retries" in caplog.text


@pytest.mark.parametrize("name", ["test", "a b", "a:b", "{a}", "a/b", "", "x" * 65])
def test_names_that_no_queue_may_bear(name: str) -> None:
    assert problem(queues={name: {}}).startswith(f"queues.{name}: ")


# --- worker, alerts, time zone ----------------------------------------------------------------------------
def test_the_queues_to_serve_come_from_their_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().worker.queues is None
    monkeypatch.setenv("CLOUDQ_QUEUES", "email, sms")
    settings = load_settings()
    assert settings.worker.queues == ("email", "sms")
    assert set(settings.queues) == set(PLATFORM_QUEUES)
    monkeypatch.setenv("CLOUDQ_QUEUES", "test")
    assert problem() == (
        "worker.queues.0: is reserved by the REST interface; choose another queue name "
        "(CLOUDQ_QUEUES in the environment)"
    )


def test_renewal_stays_within_the_lease() -> None:
    assert load_settings().worker.renew == 5
    assert load_settings(worker={"lease": 2}).worker.renew == pytest.approx(2 / 3)
    assert problem(worker={"lease": 5, "renew": 5}) == (
        "worker.renew: must be shorter than worker.lease (5 s) (the flags)"
    )
    assert "worker.lease" in problem(worker={"lease": 1.9})


def test_alert_thresholds_of_a_queue_follow_the_general_ones() -> None:
    general = AlertSettings(waiting=7)
    assert general.for_queue("email", QueueAlerts()).duration_ms == 10_000
    assert general.for_queue("other", QueueAlerts()).duration_ms is None
    own = general.for_queue("other", QueueAlerts(duration_ms=5, failure_rate=0.5))
    assert (own.waiting, own.duration_ms, own.failure_rate, own.oldest_waiting) == (7, 5, 0.5, 60)
    assert not AlertSettings(enabled=False).for_queue("email", QueueAlerts()).enabled
    assert not general.for_queue("email", QueueAlerts(enabled=False)).enabled


def test_the_time_zone_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(load_settings(timezone="Asia/Shanghai").zone) == "Asia/Shanghai"
    for wrong in ("Mars/Base", "America", "/etc/passwd", "../UTC"):
        assert problem(timezone=wrong).startswith("timezone: is not a known time zone")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert load_settings().timezone == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "CET-1CEST")
    assert load_settings().timezone != "CET-1CEST"


# --- the example, and sections of an application ------------------------------------------------------------
def test_the_example_is_the_defaults() -> None:
    assert load_settings(EXAMPLE) == Settings()


def test_the_example_names_every_key() -> None:
    text = EXAMPLE.read_text()

    def keys(model: type[BaseModel]) -> set[str]:
        found = set(model.model_fields)
        for field in model.model_fields.values():
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            for kind in kinds:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    found |= keys(kind)
        return found

    assert {key for key in keys(Settings) if f"{key}:" not in text} == set()


class Mail(Section):
    host: str = ""
    folders: tuple[str, ...] = ()


class Application(LayeredSettings):
    mail: Mail = Mail()


def test_an_application_adds_sections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    written("mail: {host: a}\nredis: {host: b}")
    assert load_settings_as(Application).mail.host == "a"
    monkeypatch.setenv("CLOUDQ_MAIL__HOST", "c")
    assert load_settings_as(Application).mail.host == "c"
    monkeypatch.setenv("CLOUDQ_MAIL__HOSTS", "d")
    with pytest.raises(SettingsError, match=r"^mail\.hosts: unknown key \(CLOUDQ_MAIL__HOSTS in the environment\)$"):
        load_settings_as(Application)
