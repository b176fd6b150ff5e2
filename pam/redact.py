"""Text without the secrets that addresses may carry."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"
# A user's part up to the last @ before the path: a password may hold any sign but these, and a user may have none.
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/?#:@]*):(?P<password>[^\s/?#]*)@")
_NAMES = "password|passwd|pwd|token|secret|api_key|access_token|sig"
_QUERY = re.compile(rf"(?P<name>[?&;](?:{_NAMES})=)[^\s&;#'\"]+", re.IGNORECASE)
_BEARER = re.compile(r"(?P<name>\bBearer |\bAuthorization: Basic )[A-Za-z0-9._~+/=-]{8,}")


def without_user(url: str) -> str:
    """The address without user and password: for requests that need neither, by libraries that take neither there."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def redact(text: str) -> str:
    """The text with the passwords and tokens of its addresses and headers replaced by ***; users and hosts stay."""
    text = _USERINFO.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    text = _QUERY.sub(rf"\g<name>{HIDDEN}", text)
    return _BEARER.sub(rf"\g<name>{HIDDEN}", text)
