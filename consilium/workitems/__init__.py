"""Steps of worklists elsewhere, performed here: IHE AI Workflow's task performer (docs/workitems.md)."""
