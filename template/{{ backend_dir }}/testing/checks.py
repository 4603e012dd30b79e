"""The checks of all revisions, by name: tests/test_migrations.py imports those that it wants."""

from testing.drift import test_the_models_and_the_revisions_make_the_same_schema
from testing.offline import test_offline_sql_builds_the_same_schema
from testing.reversible import test_every_revision_can_be_undone_and_repeated
from testing.safety import test_revisions_are_safe_for_tables_in_use
from testing.shape import (
    test_every_file_is_a_revision_of_the_history,
    test_file_names_sort_and_say_something,
    test_no_revision_imports_the_application,
    test_no_revision_of_the_main_branch_was_edited,
    test_there_is_one_head,
)

__all__ = [
    "test_every_file_is_a_revision_of_the_history",
    "test_every_revision_can_be_undone_and_repeated",
    "test_file_names_sort_and_say_something",
    "test_no_revision_imports_the_application",
    "test_no_revision_of_the_main_branch_was_edited",
    "test_offline_sql_builds_the_same_schema",
    "test_revisions_are_safe_for_tables_in_use",
    "test_the_models_and_the_revisions_make_the_same_schema",
    "test_there_is_one_head",
]
