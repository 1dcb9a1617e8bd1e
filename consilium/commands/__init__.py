"""Groups of commands of `consilium`, one module each."""
