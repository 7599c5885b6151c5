"""The routes; each file is one resource."""
