"""`octavo route`, its objects counted that live as long as a request or an endpoint."""

from octavo.router.delivery import Delivery
from octavo.router.endpoints import Endpoint, Reservation
from octavo.router.upstream_connection import Connection
from octavo.router.waiting_room import Waiter
from tests.soak import counted

if __name__ == "__main__":
    counted.run(
        {kind.__name__.lower(): kind for kind in (Delivery, Endpoint, Reservation, Connection, Waiter)}
    )
