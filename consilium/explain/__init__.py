"""`consilium study explain`: for one study, what happened at every stage, and why."""
