"""Tests: `pytest` on any machine, `docker compose run --rm test` with Docker."""
