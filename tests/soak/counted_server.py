"""`octavo serve`, its objects counted that live as long as a request."""

from octavo.engine.streams import RequestStream
from octavo.server.generation import Generation
from tests.soak import counted

if __name__ == "__main__":
    counted.run({"streams": RequestStream, "generations": Generation})
