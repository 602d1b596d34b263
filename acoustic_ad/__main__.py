"""`python -m acoustic_ad` is `acoustic-ad`."""

from acoustic_ad.cli import main

if __name__ == "__main__":  # worker processes import this module too
    main()
