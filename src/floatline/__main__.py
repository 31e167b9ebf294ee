"""`python -m floatline` is the command line."""

from floatline.cli.main import main

if __name__ == "__main__":
    main()
