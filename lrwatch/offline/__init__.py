"""Finished logs through the daemon's own path: replay, backtest, a decision recomputed, the data of a report."""
