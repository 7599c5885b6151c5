"""The settings: variables `RESNET_*`, read once, frozen; unknown names are rejected."""

import difflib
import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model.artifact.manifest import Name
from model.validation import first_fault
from service.errors import StartError

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


STALL_TIMEOUT_S = 30.0
"""A run that lasts longer will not end."""


PREFIX = "RESNET_"
ORIGIN = re.compile(r"https?://[^/\s?#]+")


def _split(value: object) -> object:
    """Read `a, b` as a list."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


Item = TypeVar("Item")
CommaSeparated = Annotated[tuple[Item, ...], NoDecode, BeforeValidator(_split)]
"""A variable with several values, separated by commas."""


class Settings(BaseSettings):
    """All settings of the service; each is the variable `RESNET_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    uds: Path | None = Field(
        None, description="Unix socket to listen on, instead of host and port."
    )
    metrics_port: int = Field(
        0, ge=0, le=65_535, description="Separate port for `/metrics` and health; 0: the same port."
    )
    tls_cert: Path | None = Field(None, description="PEM file of the certificate and its chain.")
    tls_key: Path | None = Field(
        None, description="PEM file of the certificate's key; none: it is in the same file."
    )
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file of certificate authorities; clients then need a certificate from "
        "one of them.",
    )
    grpc_port: int = Field(0, ge=0, le=65_535, description="Port for gRPC; 0: none.")
    artifact: Path = Field(
        Path("artifacts/fashion-mnist/1"),
        description="Folder `<name>/<version>`, or `<name>` for its newest version.",
    )
    model_name: Name | None = Field(
        None, description="Name of the model for clients; none: the one in its manifest."
    )
    model_repository: Path | None = Field(
        None, description="Folder of models; every `<name>/<version>` in it is served."
    )
    versions_file: Path | None = Field(
        None,
        description="JSON file: which versions of a model are served, which answers, and aliases.",
    )
    reload_interval_s: float = Field(
        5.0, ge=0, description="How often to check for new versions; 0 waits for SIGHUP."
    )
    precision: Literal["auto", "float32", "float16", "int8"] = Field(
        "auto", description="Which of the artifact's models to load; `auto` chooses by processor."
    )
    provider: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to run; `auto` takes CUDA if it is available."
    )
    provider_policy: Literal["require", "prefer"] = Field(
        "require",
        description="If `cuda` was set and is not available: refuse to start, or use the CPU.",
    )
    device_ids: CommaSeparated[NonNegativeInt] = Field(
        (), description="GPUs by index, assigned to the workers in turn; none: all of them."
    )
    workers: Literal["auto"] | PositiveInt = Field(
        1,
        description="Processes; `auto`: one per GPU, or one per core for small networks on the "
        "CPU.",
    )
    max_cores: int = Field(
        0, ge=0, le=1024, description="Cores to use at most; 0: all that the process may use."
    )
    concurrent_runs: int = Field(
        0,
        ge=0,
        le=64,
        description="Runs side by side in a process; 0: 2 if there are enough cores.",
    )
    intra_op_threads: int = Field(
        0, ge=0, le=1024, description="Threads in each run; 0: the cores are divided."
    )
    max_batch_size: int = Field(32, ge=1, le=4096, description="Images in one run of the engine.")
    max_in_flight: int = Field(
        256, ge=1, description="Images that are admitted and not yet answered."
    )
    deadline_s: float = Field(
        10.0,
        gt=0,
        le=86_400,
        description="A request that took longer is answered with 504.",
    )
    drain_delay_s: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="After SIGTERM: how long requests are still accepted while not ready.",
    )
    max_connections: int = Field(
        2_000,
        ge=1,
        description="Open connections in a process, at most; beyond it idle ones are closed.",
    )
    keep_alive_timeout_s: float = Field(
        75.0, gt=0, le=86_400, description="How long an idle connection stays open."
    )
    header_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="Time for request line and headers to arrive."
    )
    body_timeout_s: float = Field(30.0, gt=0, le=3600, description="Time for a body to arrive.")
    write_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="Time for a client to read some of its response."
    )
    max_body_bytes: int = Field(10_485_760, ge=1, description="Of one request.")
    max_buffered_bytes: int = Field(
        268_435_456, ge=1, description="Bodies of all requests together, in one process."
    )
    min_receive_bytes_s: int = Field(
        1024,
        ge=0,
        description="A body that arrives more slowly gets 408; 0: any rate.",
    )
    max_images: int = Field(64, ge=1, description="In one request.")
    max_pixels: int = Field(
        25_000_000,
        ge=1,
        le=268_435_456,  # 16,384 x 16,384, the longest sides
        description="Pixels of one image, as they are decoded; all images of a request may have "
        "four times as many.",
    )
    decode_isolation: Literal["none", "process"] = Field(
        "none", description="`process`: decode in child processes, with limits of their own."
    )
    drift_window: int = Field(
        2_000,
        ge=200,  # with fewer `service.postprocessing.drift` says nothing
        le=1_000_000,
        description="Images in the window of `/drift`.",
    )
    api_keys_file: Path | None = Field(
        None, description="File of API keys, a line `name: key` each; none: no key is needed."
    )
    public_routes: CommaSeparated[Literal["metrics", "page"]] = Field(
        (), description="What needs no key: `metrics`, `page` or both."
    )
    client_requests_s: float = Field(
        0, ge=0, description="Requests a second of one client; 0: no limit."
    )
    client_images_s: float = Field(
        0, ge=0, description="Images a second of one client; 0: no limit."
    )
    client_max_in_flight: int = Field(
        0, ge=0, description="Images of one client in flight; 0: no limit."
    )
    trusted_proxies: CommaSeparated[str] = Field(
        (),
        description="Networks of proxies whose `Forwarded` and `X-Forwarded-*` headers are "
        "trusted.",
    )
    root_path: str = Field(
        "", pattern=r"^((/[A-Za-z0-9._~-]+)+)?$", description="Prefix that clients see."
    )
    allowed_hosts: CommaSeparated[str] = Field(
        (), description="Names that a `Host` header may have; none: any."
    )
    cors_origins: CommaSeparated[str] = Field(
        (), description="Origins whose scripts may send requests; `*` for all."
    )
    access_log: bool = Field(True, description="Whether each request gets a line in the log.")
    access_log_sample: float = Field(
        1.0, gt=0, le=1, description="Share of successful requests that are logged."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "text"

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        """Accept `[::1]`, the form in URLs, for `::1`."""
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for each in proxies:
            if each != "unix":
                ip_network(each, strict=False)  # a ValueError says what is wrong
        return proxies

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for each in origins:
            if each != "*" and not ORIGIN.fullmatch(each):
                raise ValueError(
                    f"{each!r} is not an origin: write scheme, host and optionally "
                    "port, as in https://example.com, without a path"
                )
        return origins

    @property
    def processes(self) -> int:
        """Workers that share the cores; 1 while `auto` is not resolved."""
        return 1 if self.workers == "auto" else self.workers

    @property
    def child_timeout_s(self) -> float | None:
        """How long a child may take to decode an image; None: there are no children."""
        return self.deadline_s if self.decode_isolation == "process" else None

    @model_validator(mode="after")
    def _one_model_has_the_name(self) -> Self:
        if self.model_name is not None and self.model_repository is not None:
            raise ValueError(
                "RESNET_MODEL_NAME cannot be combined with RESNET_MODEL_REPOSITORY, "
                "where manifests name the models. Unset one of them"
            )
        return self

    @model_validator(mode="after")
    def _sockets_fit_each_other(self) -> Self:
        if self.tls_cert is None and (self.tls_key or self.tls_client_ca):
            raise ValueError("RESNET_TLS_KEY and RESNET_TLS_CLIENT_CA need RESNET_TLS_CERT")
        if self.tls_cert is not None and self.uds is not None:
            raise ValueError(
                "RESNET_UDS cannot be combined with RESNET_TLS_CERT: use TLS in the proxy "
                "that connects to the socket"
            )
        main_port = self.port if self.uds is None else 0
        if self.metrics_port and self.metrics_port == main_port:
            raise ValueError(
                f"RESNET_METRICS_PORT (={self.metrics_port}) must differ from RESNET_PORT"
            )
        if self.grpc_port and self.grpc_port in {main_port, self.metrics_port}:
            raise ValueError(
                f"RESNET_GRPC_PORT (={self.grpc_port}) must differ from RESNET_PORT "
                "and RESNET_METRICS_PORT"
            )
        return self

    @model_validator(mode="after")
    def _a_request_fits_the_queue(self) -> Self:
        if self.max_images > self.max_in_flight:
            raise ValueError(
                f"RESNET_MAX_IMAGES (={self.max_images}) must be at most RESNET_MAX_IN_FLIGHT "
                f"(={self.max_in_flight}): a larger request could never be admitted"
            )
        if self.max_body_bytes > self.max_buffered_bytes:
            raise ValueError(
                f"RESNET_MAX_BODY_BYTES (={self.max_body_bytes}) must be at most "
                f"RESNET_MAX_BUFFERED_BYTES (={self.max_buffered_bytes}): a larger request could "
                "never be admitted"
            )
        return self


def read_settings(**given: Any) -> Settings:
    """Read and check all settings in the environment.

    Args:
        given: Settings by their field's name, in place of the environment's.

    Raises:
        StartError: If a `RESNET_*` name is unknown or a value is not allowed; it names it.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise StartError(f"{name} is not a setting.{hint} docs/settings.md lists all.")
    try:
        return Settings(**given)
    except ValidationError as error:
        where, seen, rule = first_fault(error)
        name = PREFIX + where.split(".")[0].upper()
        raise StartError(f"{name} (={seen!r}): {rule}." if where else f"{rule}.") from error
