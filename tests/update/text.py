"""Lines of bytes: what git compares."""


def lines_of(content: bytes) -> list[bytes]:
    r"""The lines, without their \n."""
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def unix(content: bytes) -> bytes:
    r"""As `text=auto` stores it: \n for \r\n."""
    return content.replace(b"\r\n", b"\n")
