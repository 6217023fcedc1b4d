"""A database's address, as other programs are given it."""

from urllib.parse import unquote, urlsplit, urlunsplit


def without_password(url: str) -> tuple[str, dict[str, str]]:
    """The address without its password, and that in the environment: everybody can read a command line."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, {}
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit(parts._replace(netloc=f"{parts.netloc.partition(':')[0]}@{host}"))
    return bare, {"PGPASSWORD": unquote(parts.password)}
