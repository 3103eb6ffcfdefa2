"""tsbench: time-series transformers, and ways of compressing them, to measure.

Importing this package loads no torch. `tsbench.model`, `tsbench.training`, `tsbench.checkpoints`
and `tsbench.data.prepared` do, and variants when they are built.
"""
