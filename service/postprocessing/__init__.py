"""From logits to labels, prediction sets, flags, maps and drift."""
