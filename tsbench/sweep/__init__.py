"""Many trainings and measurements from one file, here or on a Ray cluster: `tsbench sweep spec.toml`."""
