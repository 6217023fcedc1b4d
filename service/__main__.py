"""`python -m service` is the same command as `queuestats`."""

from service.cli import main

if __name__ == "__main__":
    main(prog_name="queuestats")
