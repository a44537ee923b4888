"""Where a process keeps its metrics."""

import prometheus_client


def new_registry() -> prometheus_client.CollectorRegistry:
    """Without the series that say when a counter was made, which nobody reads."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    return prometheus_client.CollectorRegistry()
