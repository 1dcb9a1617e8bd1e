"""`python -m consilium`, which is how `consilium serve` starts its children."""

from consilium.cli import main

if __name__ == "__main__":
    main()
