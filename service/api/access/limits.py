"""Limits for each client: requests and images a second, and images in flight.

A client is an API key, or an address where there is none. Rates are token buckets that hold one
second's worth. A request may take more images than are left, and its client then waits until the
debt is paid: so a request of many images is slow, but never impossible.
"""

import math
import time
from collections import OrderedDict
from ipaddress import AddressValueError, IPv6Address, IPv6Network

from service.errors import RateLimitedError
from service.settings import Settings

MAX_CLIENTS = 10_000
"""Clients that are remembered; beyond it the one that asked longest ago is forgotten."""
FAILED_BYTES_PER_IMAGE = 262_144
"""A body that was received for nothing counts as one image for each so many bytes."""
IPV6_PREFIX = 64
"""One client has as many addresses as it likes with these bits in common."""


class Bucket:
    """A token bucket: filled at a steady rate, and emptied by what a client asks for.

    Args:
        rate: Tokens a second; the bucket holds as many, and one at least.
    """

    __slots__ = ("_at", "_rate", "_size", "tokens")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.tokens = self._size = max(1.0, rate)
        self._at = time.monotonic()

    def take(self, count: int) -> float:
        """Take tokens if any is left; return the seconds to wait for if not, else 0."""
        if (wait_s := self.wait_s()) == 0:
            self.tokens -= count
        return wait_s

    def wait_s(self) -> float:
        """Tell for how many seconds to wait for a token; 0 if one is left."""
        now = time.monotonic()
        self.tokens = min(self._size, self.tokens + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1 - self.tokens) / self._rate)


class Client:
    """What one client has asked for lately."""

    __slots__ = ("_max_in_flight", "image_rate", "in_flight", "request_rate")

    def __init__(self, settings: Settings) -> None:
        self.request_rate = _bucket(settings.client_requests_s)
        self.image_rate = _bucket(settings.client_images_s)
        self.in_flight = 0
        self._max_in_flight = settings.client_max_in_flight

    def begin(self, count: int) -> None:
        """Count the images of a request as in flight, until `end`.

        Raises:
            RateLimitedError: If the client has too many in flight.
        """
        if self._max_in_flight and self.in_flight and self.in_flight + count > self._max_in_flight:
            raise RateLimitedError(
                f"{self.in_flight} images of this client are in flight, and this "
                f"request has {count}; one client may have {self._max_in_flight}. "
                "Wait for answers before you send more.",
                1,
            )
        if self.image_rate is not None:
            self.image_rate.tokens -= count
        self.in_flight += count

    def end(self, count: int, failed_bytes: int) -> None:
        """Count the images no longer, but what was received for nothing.

        Args:
            count: As given to `begin`.
            failed_bytes: Of the body, if the request failed; else 0.
        """
        self.in_flight -= count
        if self.image_rate is not None and failed_bytes >= FAILED_BYTES_PER_IMAGE:
            self.image_rate.tokens -= failed_bytes // FAILED_BYTES_PER_IMAGE


class ClientLimits:
    """Counts what each client asks for.

    Args:
        settings: The limits; 0: none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: OrderedDict[str, Client] = OrderedDict()
        self._policy = ", ".join(
            _policy(name, rate)
            for name, rate in (
                ("requests", settings.client_requests_s),
                ("images", settings.client_images_s),
            )
            if rate
        )

    @property
    def are_set(self) -> bool:
        """Whether there is any limit."""
        settings = self._settings
        return bool(self._policy or settings.client_max_in_flight)

    def enter(self, name: str) -> Client:
        """Count a request of a client.

        Args:
            name: Of its key, or its address.

        Raises:
            RateLimitedError: If it has sent too many requests, or images, of late.
        """
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = Client(self._settings)
            if len(self._clients) > MAX_CLIENTS:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(name)
        if client.request_rate is not None and (wait_s := client.request_rate.take(1)):
            raise self._refusal("requests", self._settings.client_requests_s, wait_s)
        image_rate = client.image_rate  # looked at only if the last request left none
        if image_rate is not None and image_rate.tokens < 1 and (wait_s := image_rate.wait_s()):
            raise self._refusal("images", self._settings.client_images_s, wait_s)
        return client

    def _refusal(self, what: str, rate: float, wait_s: float) -> RateLimitedError:
        retry_after_s = math.ceil(wait_s)
        headers = {
            "RateLimit-Policy": self._policy,
            "RateLimit": f'"{what}";r=0;t={retry_after_s}',
        }
        return RateLimitedError(
            f"This client sends too many {what}; the limit is {rate:g} a second. Try "
            f"again in {retry_after_s} s.",
            retry_after_s,
            headers,
        )


def client_name(address: str) -> str:
    """Name a client without a key by its address; of IPv6 by the network that it has."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except AddressValueError:
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(IPv6Network((int(parsed), IPV6_PREFIX), strict=False))


def _bucket(rate: float) -> Bucket | None:
    return Bucket(rate) if rate else None


def _policy(name: str, rate: float) -> str:
    """Write a policy as the header field has it: so many in so many whole seconds."""
    window_s = 1 if rate >= 1 else math.ceil(1 / rate)
    return f'"{name}";q={max(1, math.floor(rate * window_s))};w={window_s}'
