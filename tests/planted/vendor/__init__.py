"""A package with types, as pgvector, sqlmodel, sqlalchemy-utils and geoalchemy2 have them."""
