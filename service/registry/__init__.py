"""Which models are served: loading, trial, reload, versions."""
