"""`octavo list`: the models on this disk, and those that `octavo pull` knows by name."""

import pkgutil
import time

from octavo.cli.tables import ago, columns, size
from octavo.config import Environment
from octavo.models.catalog import CATALOG
from octavo.models.store import StoredModel, stored_models


def list_models() -> None:
    """List the models on this disk, and those that can be fetched by name."""
    home = Environment.read().home
    models, now = stored_models(home), time.time()
    rows = [("NAME", "SIZE", "FORMAT", "LAST USED"), *(_row(model, now) for model in models)]
    present = {model.name for model in models}
    rows += [
        (named.name, size(named.num_bytes), named.format, "not here: octavo pull")
        for named in CATALOG
        if named.name not in present
    ]
    print("\n".join(columns(rows, right=(1,))))
    print(f"\n{home / 'models'}: {size(sum(model.num_bytes for model in models))}")
    kept = pkgutil.resolve_name("octavo.weights.repacked:RepackedFiles").of_home(home)
    if files := kept.files():
        print(
            f"{kept.folder}: {size(sum(file.num_bytes for file in files))}, weights packed by earlier starts"
        )


def _row(model: StoredModel, now: float) -> tuple[str, str, str, str]:
    used = ago(now - model.last_used) if model.is_complete else "incomplete: octavo pull goes on"
    return model.name, size(model.num_bytes), model.format, used
