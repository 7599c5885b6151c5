"""Calibration, conformal sets, out-of-distribution scores, drift reference."""
