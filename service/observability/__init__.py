"""Metrics, traces, figures of the process."""
