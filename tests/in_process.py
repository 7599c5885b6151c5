"""Requests to an application in this process, without a port."""

import asyncio

import httpx
from fastapi import FastAPI


def ask(app: FastAPI, *requests: httpx.Request) -> list[httpx.Response]:
    """Start the application, send the requests one by one, and stop it."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport) as client,
        ):
            return [await client.send(request) for request in requests]

    return asyncio.run(run())


def get(path: str) -> httpx.Request:
    return httpx.Request("GET", f"http://service{path}")


def post(path: str, content: bytes) -> httpx.Request:
    return httpx.Request("POST", f"http://service{path}", content=content)
