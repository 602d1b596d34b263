"""How unusual a clip is: clip scorers, calibration, metrics, explanation."""
