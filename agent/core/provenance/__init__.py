"""Which results an output depends on, and formats to export that."""
