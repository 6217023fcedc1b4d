"""Text from a database or a client, as a terminal and a log line may show it."""


def escape(text: str) -> str:
    """Control characters, direction marks and other invisible characters as `\\x1b` or `\\u202e`; the rest as it is."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
