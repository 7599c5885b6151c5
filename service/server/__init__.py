"""Sockets, connections, worker processes, the end of life: uvicorn, and what ours adds."""
