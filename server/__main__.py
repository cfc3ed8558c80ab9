"""`python -m server`: serve with the settings of the environment and houseword.toml."""

import sys

from server.errors import ServerError
from server.serve import serve
from server.settings import Settings

if __name__ == "__main__":
    try:
        serve(Settings.load())
    except ServerError as error:
        sys.exit(f"houseword: {error}")
