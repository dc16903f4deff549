"""``python -m clew``: the ``clew`` command, for where scripts are not on the path."""

from clew.cli.main import main

if __name__ == "__main__":
    main()
