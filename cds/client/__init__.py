"""The other side: what calls a CDS Hooks service. For the command line, the conformance pack and tests."""
