"""Addresses of servers: which policy names are one, and what an address must not hold.

Addresses are written to run directories and shown, so that one with credentials is refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tasks.errors import UsageError

AUTO = "auto"
"""The engine that the policy's name decides on."""
IN_PROCESS = ("transformers", "vllm")
"""Engines that load the policy's model themselves."""


def is_url(policy: str) -> bool:
    """Whether a policy's name is the address of a server."""
    return policy.lower().startswith(("http://", "https://"))


def server_url(text: str) -> str:
    """The address as it is asked: without a slash at the end, ``/v1`` where no path is given.

    Raises `UsageError` for an address without a host, and for one that holds credentials or a query.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its message may repeat what should not be repeated
        raise UsageError("not the address of a server; give http://HOST:PORT/v1") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"the address {parts.scheme}://{host} must hold no user, password or query: it is written to the "
            "run's files; put a key into the environment variable that engine.key_env names"
        )
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise UsageError(f"not the address of a server: {text!r}; give http://HOST:PORT/v1")
    return f"{parts.scheme.lower()}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def check_policy(policy: str) -> None:
    """Raise `UsageError` for a policy's name that is a bad address; other names are left alone."""
    if is_url(policy):
        server_url(policy)


def choose_engine(engine: str, policy: str) -> str:
    """The engine of a name; "auto" is `openai` for an address, else `transformers`."""
    if engine != AUTO:
        return engine
    return "openai" if is_url(policy) else "transformers"
