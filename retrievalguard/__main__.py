"""The first line of the command line: small, so that Ctrl-C is heard before anything large is loaded.

Runs as `retrievalguard` and as `python -m retrievalguard`.
"""

from retrievalguard import interrupts


def main() -> None:
    """Run the command line."""
    interrupts.leave_at_once()
    from retrievalguard.cli import main as run

    run()


if __name__ == "__main__":
    main()
