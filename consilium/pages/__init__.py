"""The few pages people look at: server-rendered, no script, no patient's name."""
