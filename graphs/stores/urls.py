"""URLs of databases as they may be shown and stored."""

import re
from urllib.parse import urlsplit

_IN_QUERY = re.compile(r"([?&](?:\w*password|passwd|pwd|\w*secret|\w*token)=)[^&#]+", re.IGNORECASE)


def without_password(url: str) -> str:
    """Return a URL with stars in the place of a password, before its host or in its query."""
    parts = urlsplit(url)
    if parts.password:
        url = url.replace(f":{parts.password}@", ":***@", 1)
    return _IN_QUERY.sub(r"\1***", url)
