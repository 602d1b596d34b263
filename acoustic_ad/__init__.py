"""acoustic-ad hears machines fail before they stop: unsupervised anomaly detection for machine sound."""

__version__ = "0.1.0"
