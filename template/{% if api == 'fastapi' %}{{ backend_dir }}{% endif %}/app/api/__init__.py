"""The endpoints, and what they share."""
