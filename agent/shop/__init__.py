"""The sample shop: a seeded small business as a DuckDB file."""

from agent.shop.build import SHOP_FILE, ensure_shop

__all__ = ["SHOP_FILE", "ensure_shop"]
