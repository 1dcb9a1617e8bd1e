"""`consilium demo`: one radiograph through the whole house, over the real doors, and what comes out of each."""

from consilium.demo.run import run_demo

__all__ = ["run_demo"]
