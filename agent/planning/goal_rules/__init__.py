"""What the words of a goal over tools decide of its plan: conditions, repetition, texts, order; and what stays open."""
