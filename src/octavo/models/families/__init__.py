"""The model families octavo runs: one file each, stating only what differs."""
