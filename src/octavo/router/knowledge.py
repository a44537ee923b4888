"""What a router has learned of its endpoints, for the policies to go by."""

import dataclasses

from octavo.router.demand import Demand
from octavo.router.first_token_times import FirstTokenTimes
from octavo.router.prefix_index import CachedPrefixes


@dataclasses.dataclass(frozen=True, slots=True)
class Knowledge:
    times: FirstTokenTimes = dataclasses.field(default_factory=FirstTokenTimes)
    prefixes: CachedPrefixes = dataclasses.field(default_factory=CachedPrefixes)
    demand: Demand = dataclasses.field(default_factory=Demand)
