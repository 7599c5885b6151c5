"""The family as data: specification, plan, summary. No torch."""
