"""Run the command line as `python -m kernelsim`."""

from kernelsim.cli.main import main

if __name__ == "__main__":
    main()
