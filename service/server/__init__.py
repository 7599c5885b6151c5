"""Sockets, connections, worker processes and the end of the process: uvicorn, and our additions."""

from service.server.uvicorn_hooks import check_hooks

check_hooks()
