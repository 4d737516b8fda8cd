"""`python -m plait`: the command line for launchers that start a module, such as torchrun."""

from plait.cli.main import main

if __name__ == "__main__":
    main()
