"""Delete this file to drop the check."""

from testing.pictures import test_pictures_are_current as test_pictures_are_current
