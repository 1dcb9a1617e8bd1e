"""Feedback on cards (CDS Hooks 3.0, "Feedback"): checked against the cards that were sent, stored, reported."""
