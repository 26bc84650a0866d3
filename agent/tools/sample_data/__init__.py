"""The sample shop: a seeded small business as a DuckDB file."""

from agent.tools.sample_data.build import SHOP_FILE, ensure_shop

__all__ = ["SHOP_FILE", "ensure_shop"]
