"""A strategy, a signal, a provider of bars and a cost model for qtnb, found by their names once this package is installed."""
