"""`python -m octavo.engine`: the engine process with the real loader."""

from octavo.engine.loader import load_engine
from octavo.engine.process import main

if __name__ == "__main__":
    main(load_engine)
