"""Trainings and measurements of a spec file, here or on a Ray cluster: `tsbench sweep`."""
