"""HTTP: middleware, bodies, problems, schemas, routes."""
