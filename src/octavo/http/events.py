"""JSON in server-sent events, on one line for every reader.

The standard ends a line at CR and LF. Clients that split by Unicode's rules (Python's splitlines, httpx's
iter_lines) end one at three more characters, which JSON may hold as they are; here they are escaped.
"""

_LINE_ENDS = tuple((chr(code).encode(), rb"\u%04x" % code) for code in (0x85, 0x2028, 0x2029))


def on_one_line(rendered: bytes) -> bytes:
    """JSON, or events that hold JSON, with the same meaning."""
    if rendered.isascii():
        return rendered
    for character, escape in _LINE_ENDS:
        rendered = rendered.replace(character, escape)
    return rendered
