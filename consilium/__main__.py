"""`consilium`, also as `python -m consilium`: a role by itself, as `serve` starts its children, or a command."""

import gc
import sys


def main() -> None:
    """Run a role, or the command line."""
    # What is imported stays. Looking through it for garbage again and again was an eighth of a start; a role has
    # garbage looked for once it has what it needs (`collect_from_now_on`).
    gc.disable()
    from consilium.starting import plain_role, run_plainly  # noqa: PLC0415

    named = plain_role(sys.argv[1:])
    if named is not None:
        sys.exit(run_plainly(*named))
    gc.enable()
    from consilium import cli  # noqa: PLC0415 - typer and all commands

    cli.main()


if __name__ == "__main__":
    main()
