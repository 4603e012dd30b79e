"""What we ship, booted in real containers."""
