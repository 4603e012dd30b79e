"""What every part of the service shares."""
