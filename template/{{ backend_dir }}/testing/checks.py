"""The checks of all revisions, by name: tests/test_migrations.py imports those that it wants."""

# mypy: implicit-reexport
# ruff: noqa: F401
from testing.drift import test_models_and_revisions_make_the_same_schema
from testing.offline import test_offline_sql_builds_the_same_schema
from testing.reversible import test_every_revision_can_be_reverted_and_applied_again
from testing.safety import test_revisions_are_safe_for_tables_in_use
from testing.shape import (
    test_every_file_in_versions_is_a_revision,
    test_file_names_have_date_id_and_message,
    test_merged_revisions_are_not_edited,
    test_revisions_do_not_import_the_application,
    test_there_is_one_head,
)
