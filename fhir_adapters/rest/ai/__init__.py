"""What can be done with AI results besides reading them: recall, replay, confirmation by a person."""
