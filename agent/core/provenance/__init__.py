"""Which results an output rests on, and the formats that say it."""
