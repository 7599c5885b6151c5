"""From labelled pictures to an artifact."""
