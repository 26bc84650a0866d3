"""The name of a table or view as SQL."""

import re

from agent.tools.db_schema.model import Relation
from agent.tools.sql.engines.attachment import quote_identifier

#: A name with its schema, each as it is or quoted.
_NAME_PARTS = re.compile(r'"(?:[^"]|"")*"|[^."]+')


def quote_relation(relation: Relation) -> str:
    """Return the name of `relation` as quoted SQL identifiers."""
    parts = _NAME_PARTS.findall(relation.name)
    return ".".join(part if part.startswith('"') else quote_identifier(part) for part in parts)
