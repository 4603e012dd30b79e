"""What we claim about time, measured against a floor; `scripts/bench` runs it."""
