"""The parts of the data plane's benchmark: `bench/dataplane.py` puts them together."""
