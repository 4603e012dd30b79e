"""Your tests. Fixtures such as `session` come from the plugin `testing`."""
