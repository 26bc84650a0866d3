"""Two graphs with names and descriptions of their own, as one `langgraph.json` serves them."""

from langchain_core.tools import tool

from graphs.plan_execute import build_graph


@tool
def count_pieces(product: str) -> dict:
    """Return how many pieces of a product there are."""
    return {"pieces": len(product)}


@tool
def send_reminder(who: str) -> str:
    """Remind somebody."""
    return f"reminded {who}"


count_pieces.metadata = {"readOnlyHint": True}
stock = build_graph(tools=[count_pieces], name="stock", description="Looks after the stock.")
reminders = build_graph(tools=[send_reminder], name="reminders", description="Reminds people.")
