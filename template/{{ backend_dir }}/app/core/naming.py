"""How constraints and indexes are named, in models and in revisions.

Apart from app/core/database.py, so that an upgrade does not import the ORM, which would take as
long as running twenty revisions.
"""

# A constraint without a name cannot be dropped by a downgrade. Changing this renames constraints.
NAMING_CONVENTION = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
