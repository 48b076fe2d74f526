"""``python -m pulmoscope``, as torchrun starts it: the command line."""

from pulmoscope.apps.cli.main import main

if __name__ == "__main__":
    main()
