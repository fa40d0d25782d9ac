"""A strategy, a signal, a provider of bars, a cost model and a channel for messages for qtnb, found by their names once this package is installed."""
