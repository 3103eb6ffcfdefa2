"""tsbench: time-series transformers, and ways of compressing them, to measure.

Importing this package loads no torch: `tsbench.model`, `tsbench.training.train`,
`tsbench.training.evaluate`, `tsbench.checkpoints` and the variants do.
"""
