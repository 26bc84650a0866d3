"""What a role has spent on its model."""

from agent.reply import Usage, total_cost


class Spent(Usage):
    """Tokens and the number of calls."""

    calls: int = 0

    def __add__(self, other: Usage) -> "Spent":
        return Spent(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=total_cost(self.cost, other.cost),
            calls=self.calls + (other.calls if isinstance(other, Spent) else 1),
        )


class Tally:
    """Adds up the calls of one role; pass `count` as `usage` to `ask`."""

    def __init__(self) -> None:
        self.spent = Spent()

    def count(self, usage: Usage) -> None:
        """Take in one more call."""
        self.spent += usage
