"""The hazards that a revision can hold: why each hurts, and what to do instead.

Their names are what `accepted_risks` of a revision says. watch.py and compatibility.py find
them.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from alembic.script import Script

from testing.audit.statements import says

# Why each hazard hurts; {} is the table or whatever it is about.
WHY = {
    # Seen while it runs.
    "blocks-while-reading": "it reads {} to the end while a lock keeps others from {}",
    "not-concurrent": "it keeps others from {1} {0}, and there is a form that does not",
    "rewrites-table": "it writes all of {} anew, and nobody can read it meanwhile",
    "changes-rows": "it changes or locks any number of rows of {} in one transaction: they stay"
    " locked to its end, and nothing of the dead ones can be cleaned up",
    "mixes-schema-and-data": "it works on rows of {0} while the transaction keeps others from {1},"
    " by the lock of an earlier statement",
    "locks-table": "it keeps others from {1} {0} until the transaction ends",
    "locks-several-tables": "it asks for a lock on {0} while the transaction has one on {1}: who"
    " uses that waits too, and two that lock in another order deadlock",
    "ends-transaction": "it ends the transaction that Alembic began: after a failure, half of the"
    " revision stays, and it cannot be run again",
    "truncates": "it removes all rows of {}, and the code that still runs may need them",
    "uses-new-enum-value": "PostgreSQL refuses a new value of an enum in the transaction that adds"
    " it",
    "identifier-too-long": "PostgreSQL cuts names after 63 bytes, so this one becomes another: {}",
    "ban-drop-database": "it drops a whole database, and no downgrade brings it back",
    # Seen in the catalog.
    "drops": "the code that still runs may use {}",
    "renames": "the code that still runs uses {} by its old name",
    "changes-type": "the code that still runs expects the old type of {}",
    "requires-value": "the code that still runs gives {} no value, and its INSERTs fail",
    "loosens": "the code that still runs may rely on what it forbids: {}",
    "restricts": "the code that still runs loses rights or rows: {}",
    "adds-trigger": "it runs at every write of the code that still runs: {}",
    "json-column": "json has no equality, so SELECT DISTINCT and GROUP BY over {} fail",
    "wide-index": "{} has more than three columns: seldom of use, and a cost at every write",
}

_ALONE = "inside `with op.get_context().autocommit_block():`"
_LATER = "first deploy code that does without, and do it in a later release"
_COLUMN_BESIDE = (
    "add a new column, let the code write both, fill the new one in batches, let the code read it,"
    " and drop the old one in a later release"
)
_TABLE_BESIDE = "a new table, filled in batches and then switched to"


class Cure(NamedTuple):
    """What to do instead of a statement that the pattern finds."""

    hazard: str
    pattern: str
    text: str


CURES = [  # the first that fits
    Cure(
        "blocks-while-reading",
        r"\bSET\s+NOT\s+NULL\b",
        f"add CHECK (... IS NOT NULL) NOT VALID, VALIDATE it {_ALONE}, then SET NOT NULL, which"
        " reads nothing any more, and drop the CHECK",
    ),
    Cure(
        "blocks-while-reading",
        r"\b(UNIQUE|PRIMARY\s+KEY)\b",
        f"build the unique index with postgresql_concurrently=True {_ALONE}, then ADD CONSTRAINT"
        " ... UNIQUE (or PRIMARY KEY) USING INDEX",
    ),
    Cure("blocks-while-reading", r"\bEXCLUDE\b", f"{_TABLE_BESIDE}: it has no concurrent form"),
    Cure(
        "blocks-while-reading",
        r"\bATTACH\s+PARTITION\b",
        "give the table a CHECK that says the partition's bounds, NOT VALID and then validated in a"
        " transaction of its own, and attach it after that; a default partition needs one too",
    ),
    Cure(
        "blocks-while-reading",
        r"\bVALIDATE\b",
        f"VALIDATE in a transaction of its own: {_ALONE}, or in the next revision",
    ),
    Cure(
        "blocks-while-reading",
        r"\bADD\b",
        "add it NOT VALID (postgresql_not_valid=True), which reads nothing, then VALIDATE"
        f" CONSTRAINT in a transaction of its own: {_ALONE}, or in the next revision",
    ),
    Cure(
        "blocks-while-reading", "", "let the reading be a transaction of its own, before the lock"
    ),
    Cure(
        "not-concurrent",
        r"\bCREATE\b.*\bINDEX\b",
        f"op.create_index(..., postgresql_concurrently=True, if_not_exists=True) {_ALONE}",
    ),
    Cure(
        "not-concurrent",
        r"\bDROP\s+INDEX\b",
        f"op.drop_index(..., postgresql_concurrently=True, if_exists=True) {_ALONE}",
    ),
    Cure("not-concurrent", r"\bREINDEX\b", f"REINDEX ... CONCURRENTLY {_ALONE}"),
    Cure(
        "not-concurrent",
        r"\bREFRESH\b",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY, with a unique index on the view",
    ),
    Cure("not-concurrent", r"\bDETACH\b", f"DETACH PARTITION ... CONCURRENTLY {_ALONE}"),
    Cure("not-concurrent", "", f"the form with CONCURRENTLY, {_ALONE}"),
    Cure(
        "rewrites-table",
        r"\bADD\b.*\b(\w*SERIAL|IDENTITY|NEXTVAL)\b",
        "add a nullable column, give it a default from a sequence, fill in the old rows in batches,"
        " and only then make it NOT NULL and the key",
    ),
    Cure(
        "rewrites-table",
        r"\bADD\b.*\bGENERATED\b",
        "a plain column that the code or a trigger fills, the old rows in batches; or a view; or"
        " VIRTUAL instead of STORED (PostgreSQL 18)",
    ),
    Cure(
        "rewrites-table",
        r"\bADD\b.*\bDEFAULT\b",
        "add the column without default, set the default in another statement, and fill in the old"
        " rows in batches: a default that is not constant is computed for every row",
    ),
    Cure("rewrites-table", r"\b(VACUUM|CLUSTER|TABLESPACE)\b", "pg_repack, outside of migrations"),
    Cure("rewrites-table", r"\bTYPE\b", _COLUMN_BESIDE),
    Cure("rewrites-table", "", _TABLE_BESIDE),
    Cure(
        "changes-rows",
        "",
        f"batches with a commit after each, {_ALONE}, in a revision of its own: UPDATE ... WHERE id"
        " IN (SELECT id ... LIMIT 1000) until none is left (alembic/README.md, A data migration)",
    ),
    Cure("mixes-schema-and-data", "", "schema and data apart: a revision for each"),
    Cure("locks-table", "", "no LOCK TABLE: the rows that you need, with SELECT ... FOR UPDATE"),
    Cure("locks-several-tables", "", "a revision for each table"),
    Cure("ends-transaction", "", f"what needs a transaction of its own stands {_ALONE}"),
    Cure("truncates", "", f"delete in batches, {_ALONE}, once no code reads them"),
    Cure("uses-new-enum-value", "", f"ALTER TYPE ... ADD VALUE {_ALONE}, or in a revision before"),
    Cure("identifier-too-long", "", "a shorter name"),
    Cure("ban-drop-database", "", "DROP DATABASE by hand, after a backup"),
    Cure("drops", "", _LATER),
    Cure("renames", r"\bRENAME\s+(COLUMN\b|\S+\s+TO\b)", _COLUMN_BESIDE),
    Cure(
        "renames",
        "",
        "add the new one beside it (for a table: a view of the old name), and drop the old later",
    ),
    Cure("changes-type", "", _COLUMN_BESIDE),
    Cure(
        "requires-value",
        "",
        "give it a server_default that is constant, which takes no time; or add it nullable, fill"
        " it, and make it NOT NULL when all running code fills it",
    ),
    Cure("loosens", "", _LATER),
    Cure("restricts", "", "first deploy code that works under it; then accept the risk"),
    Cure(
        "adds-trigger", "", "try it under the code that runs; keep it short; then accept the risk"
    ),
    Cure("json-column", "", "jsonb"),
    Cure("wide-index", "", "three columns at most, the most selective ones"),
]


@dataclass(frozen=True)
class Finding:
    """One hazard, and where it is."""

    hazard: str
    place: str  # file:line
    statement: str
    what: str

    def __str__(self) -> str:
        cure = next(
            cure.text
            for cure in CURES
            if cure.hazard == self.hazard and says(self.statement, cure.pattern)
        )
        statement = " ".join(self.statement.split())
        return (
            f"{self.place}: {self.hazard}: {self.what}\n"
            f"  the statement: {statement[:300]}{'...' * (len(statement) > 300)}\n"
            f"  instead: {cure}"
        )


@dataclass
class Report:
    """What is said of one revision."""

    script: Script
    findings: list[Finding] = field(default_factory=list)
    failure: str = ""  # why it cannot be run

    def add(self, hazard: str, place: str, statement: str, *names: str) -> None:
        """Once per hazard, place and statement."""
        finding = Finding(hazard, place, statement, WHY[hazard].format(*names))
        if finding not in self.findings:
            self.findings.append(finding)

    def has(self, hazard: str, place: str) -> bool:
        """Whether it is said of that line already."""
        return any((it.hazard, it.place) == (hazard, place) for it in self.findings)
