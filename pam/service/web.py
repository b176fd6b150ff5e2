"""Questions to the service's own servers, without Ray's and MLflow's clients: those take seconds to import."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT = 10.0  # seconds

# No proxy: what the environment names for the internet would be asked for addresses of this machine, too.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unreachable(ConnectionError):
    """The server does not answer, or not with what was asked for."""


def ask(url: str, *, method: str = "GET", body: object = None, token: str = "", timeout: float = TIMEOUT) -> str:
    """The answer's text. Raises `Unreachable`."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310  # the service's own address
    try:
        with _OPENER.open(request, timeout=timeout) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise Unreachable(f"{url}: HTTP {error.code}") from error
    except (OSError, ValueError) as error:  # refused, timed out, or no HTTP at all
        raise Unreachable(f"{url}: {getattr(error, 'reason', error)}") from error


def ask_json(url: str, *, token: str = "", timeout: float = TIMEOUT) -> Any:
    """The answer, parsed. Raises `Unreachable`."""
    try:
        return json.loads(ask(url, token=token, timeout=timeout))
    except ValueError as error:
        raise Unreachable(f"{url}: no JSON") from error


def ray_token() -> str:
    """Ray's token, from where Ray itself looks for it; "" if there is none."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path.read_text().strip() if path.is_file() else ""
