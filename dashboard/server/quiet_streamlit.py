"""Streamlit's command line, without the word that it prints when it is interrupted: whoever started it says what that means."""

import click
from streamlit.web.cli import main

if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        pass
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from error
