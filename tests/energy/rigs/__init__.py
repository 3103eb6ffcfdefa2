"""Stand-ins for the sensors that a test machine does not have."""
