from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import StartError
from service.settings import Settings, read_settings

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "uds": None,
    "metrics_port": 0,
    "grpc_port": 0,
    "tls_cert": None,
    "tls_key": None,
    "tls_client_ca": None,
    "artifact": Path("artifacts/fashion-mnist/1"),
    "model_name": None,
    "model_repository": None,
    "versions_file": None,
    "reload_interval_s": 5.0,
    "precision": "auto",
    "provider": "auto",
    "provider_policy": "require",
    "device_ids": (),
    "workers": 1,
    "max_cores": 0,
    "concurrent_runs": 0,
    "intra_op_threads": 0,
    "max_batch_size": 32,
    "max_in_flight": 256,
    "deadline_s": 10.0,
    "drain_delay_s": 1.0,
    "max_connections": 2_000,
    "keep_alive_timeout_s": 75.0,
    "header_timeout_s": 10.0,
    "body_timeout_s": 30.0,
    "write_timeout_s": 30.0,
    "max_body_bytes": 10_485_760,
    "max_buffered_bytes": 268_435_456,
    "min_receive_bytes_s": 1024,
    "max_images": 64,
    "max_pixels": 25_000_000,
    "decode_isolation": "none",
    "drift_window": 2_000,
    "api_keys_file": None,
    "public_routes": (),
    "client_requests_s": 0,
    "client_images_s": 0,
    "client_max_in_flight": 0,
    "trusted_proxies": (),
    "root_path": "",
    "allowed_hosts": (),
    "cors_origins": (),
    "access_log": True,
    "access_log_sample": 1.0,
    "log_level": "info",
    "log_format": "text",
}
CHANGES = {
    "host": ("0.0.0.0", "0.0.0.0"),  # noqa: S104  # nothing listens there
    "port": ("0", 0),
    "uds": ("run/resnet.sock", Path("run/resnet.sock")),
    "metrics_port": ("9000", 9000),
    "grpc_port": ("8001", 8001),
    "tls_cert": ("tls.crt", Path("tls.crt")),
    "tls_key": ("tls.key", Path("tls.key")),
    "tls_client_ca": ("clients.crt", Path("clients.crt")),
    "artifact": ("models/x", Path("models/x")),
    "model_name": ("shoes-v2", "shoes-v2"),
    "model_repository": ("models", Path("models")),
    "versions_file": ("versions.json", Path("versions.json")),
    "reload_interval_s": ("0.5", 0.5),
    "precision": ("int8", "int8"),
    "provider": ("cuda", "cuda"),
    "provider_policy": ("prefer", "prefer"),
    "device_ids": ("0, 2", (0, 2)),
    "workers": ("auto", "auto"),
    "max_cores": ("4", 4),
    "concurrent_runs": ("2", 2),
    "intra_op_threads": ("3", 3),
    "max_batch_size": ("7", 7),
    "max_in_flight": ("99", 99),
    "deadline_s": ("0.25", 0.25),
    "drain_delay_s": ("0.5", 0.5),
    "max_connections": ("99", 99),
    "keep_alive_timeout_s": ("0.5", 0.5),
    "header_timeout_s": ("0.5", 0.5),
    "body_timeout_s": ("0.5", 0.5),
    "write_timeout_s": ("0.5", 0.5),
    "max_body_bytes": ("1000", 1000),
    "max_buffered_bytes": ("20000000", 20_000_000),
    "min_receive_bytes_s": ("0", 0),
    "max_images": ("1", 1),
    "max_pixels": ("100", 100),
    "decode_isolation": ("process", "process"),
    "drift_window": ("300", 300),
    "api_keys_file": ("keys", Path("keys")),
    "public_routes": ("metrics, page", ("metrics", "page")),
    "client_requests_s": ("2.5", 2.5),
    "client_images_s": ("7", 7),
    "client_max_in_flight": ("9", 9),
    "trusted_proxies": ("10.0.0.0/8,unix, ::1", ("10.0.0.0/8", "unix", "::1")),
    "root_path": ("/a/b", "/a/b"),
    "allowed_hosts": ("example.com", ("example.com",)),
    "cors_origins": (
        "https://example.com, http://localhost:3000",
        ("https://example.com", "http://localhost:3000"),
    ),
    "access_log": ("false", False),
    "access_log_sample": ("0.1", 0.1),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}
NEEDS = {"tls_key": {"tls_cert": Path("tls.crt")}, "tls_client_ca": {"tls_cert": Path("tls.crt")}}
BAD = {
    "RESNET_PORT": ("65536", "-1", "http", "", "8000.5", "tcp://10.0.0.1:8000"),
    "RESNET_METRICS_PORT": ("65536", "-1", "http"),
    "RESNET_GRPC_PORT": ("65536", "-1"),
    "RESNET_PRECISION": ("float8", "FLOAT32"),
    "RESNET_PROVIDER": ("tpu",),
    "RESNET_PROVIDER_POLICY": ("maybe",),
    "RESNET_RELOAD_INTERVAL_S": ("-1", "nan", "often"),
    "RESNET_MODEL_NAME": ("", "a/b", "ä"),
    "RESNET_MAX_CORES": ("-1", "1025", "2500m"),
    "RESNET_WORKERS": ("0", "-1", "many", "1.5", ""),
    "RESNET_CONCURRENT_RUNS": ("-1", "65"),
    "RESNET_INTRA_OP_THREADS": ("-1", "1025"),
    "RESNET_MAX_BATCH_SIZE": ("0", "4097", "eight"),
    "RESNET_MAX_IN_FLIGHT": ("0",),
    "RESNET_DEADLINE_S": ("0", "1s", "nan", "inf"),
    "RESNET_MIN_RECEIVE_BYTES_S": ("-1", "1KB"),
    "RESNET_DRAIN_DELAY_S": ("-0.1", "nan", "soon"),
    "RESNET_MAX_CONNECTIONS": ("0", "many"),
    "RESNET_KEEP_ALIVE_TIMEOUT_S": ("0", "-1", "nan", "inf"),
    "RESNET_HEADER_TIMEOUT_S": ("0", "10s"),
    "RESNET_BODY_TIMEOUT_S": ("0",),
    "RESNET_WRITE_TIMEOUT_S": ("0",),
    "RESNET_MAX_BODY_BYTES": ("0", "10MB"),
    "RESNET_MAX_IMAGES": ("0",),
    "RESNET_MAX_PIXELS": ("0", "1e7", "300000000"),
    "RESNET_DRIFT_WINDOW": ("199", "1000001"),
    "RESNET_LOG_LEVEL": ("loud",),
    "RESNET_LOG_FORMAT": ("xml", "json\ntext"),
}


def test_defaults_hold_where_nothing_is_set() -> None:
    assert read_settings().model_dump() == DEFAULTS


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = CHANGES[name]
    needed = NEEDS.get(name, {})
    monkeypatch.setenv(f"RESNET_{name.upper()}", text)

    settings = read_settings(**needed)

    assert value != DEFAULTS[name]
    assert settings.model_dump() == {**DEFAULTS, **needed, name: value}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RESNET_MAX_BATCHSIZE", "Did you mean RESNET_MAX_BATCH_SIZE?"),
        ("RESNET_PROT", "Did you mean RESNET_PORT?"),
        ("resnet_devicee", "resnet_devicee is not a setting."),
        ("RESNET_", "RESNET_ is not a setting."),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")

    with pytest.raises(StartError) as refused:
        read_settings()

    assert str(refused.value).startswith(f"{name} is not a setting.")
    assert hint in str(refused.value)


def test_names_of_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNETS_PORT", "1")

    assert read_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts]
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)

    with pytest.raises(StartError) as refused:
        read_settings()

    assert str(refused.value).startswith(f"{name} (={text!r}): ")
    assert str(refused.value).isprintable()


def test_settings_are_frozen() -> None:
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_a_request_that_could_never_be_admitted_is_no_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESNET_MAX_IN_FLIGHT", "63")

    with pytest.raises(StartError) as refused:
        read_settings()

    assert "RESNET_MAX_IMAGES (=64) must be at most RESNET_MAX_IN_FLIGHT (=63)" in str(
        refused.value
    )
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(("text", "host"), [("[::]", "::"), ("[::1]", "::1"), ("::1", "::1")])
def test_an_address_may_stand_in_brackets(
    text: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNET_HOST", text)

    assert read_settings().host == host


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"tls_key": "k"}, "RESNET_TLS_KEY and RESNET_TLS_CLIENT_CA need RESNET_TLS_CERT"),
        ({"tls_client_ca": "c"}, "RESNET_TLS_KEY and RESNET_TLS_CLIENT_CA need RESNET_TLS_CERT"),
        ({"tls_cert": "c", "uds": "s"}, "RESNET_UDS cannot be combined with RESNET_TLS_CERT"),
        ({"port": 9, "metrics_port": 9}, "RESNET_METRICS_PORT (=9) must differ from"),
        ({"port": 9, "grpc_port": 9}, "RESNET_GRPC_PORT (=9) must differ from"),
        ({"metrics_port": 9, "grpc_port": 9}, "RESNET_GRPC_PORT (=9) must differ from"),
        ({"model_name": "a", "model_repository": "b"}, "RESNET_MODEL_NAME cannot be combined with"),
    ],
)
def test_settings_that_contradict_each_other_are_one_line(given: dict[str, Any], why: str) -> None:
    with pytest.raises(StartError) as refused:
        read_settings(**given)

    assert why in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300
