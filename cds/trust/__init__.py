"""Who may call the hooks (CDS Hooks 3.0, "Security and Safety"; docs/trust.md). `parts` puts it together."""
