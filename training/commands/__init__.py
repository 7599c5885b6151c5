"""One module for each command; `training.cli` makes console scripts of them."""
