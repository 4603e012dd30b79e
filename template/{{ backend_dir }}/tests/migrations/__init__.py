"""One module for each kind of check of the revisions, found by themselves. Delete what you like."""
