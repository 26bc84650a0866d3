"""What the desks have in common: a method is a tool, and reads or writes."""

from typing import ClassVar

from langchain_core.tools import BaseTool, StructuredTool


class ServiceDesk:
    """Methods with types and docstrings over a database in memory; notes each write that was made."""

    READS: ClassVar[frozenset[str]]
    WRITES: ClassVar[frozenset[str]]

    def __init__(self) -> None:
        self.made: list[str] = []

    def tools(self) -> list[BaseTool]:
        """Return the methods as tools, unchanged but for the word whether they only read."""
        return [
            StructuredTool.from_function(
                getattr(self, name), parse_docstring=True, metadata={"readOnlyHint": name in self.READS}
            )
            for name in sorted(self.READS | self.WRITES)
        ]
