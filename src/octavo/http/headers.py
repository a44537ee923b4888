"""Header fields as ASGI has them, in the order in which they are sent."""

from collections.abc import Sequence

Header = tuple[bytes, bytes]  # the name, in lower case, and the value
Headers = Sequence[Header]
