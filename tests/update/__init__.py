"""`copier update` over projects that users have changed: who edits, what we release, who judges."""
