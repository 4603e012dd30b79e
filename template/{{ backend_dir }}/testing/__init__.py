"""Checks of every revision, and databases for your tests: a pytest plugin. The template's.

An update replaces this folder whole; README.md says what each check promises. Yours is `tests/`.
"""
