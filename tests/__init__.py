"""Tests of the template: fast ones first, then those with a server, then those with Docker."""
