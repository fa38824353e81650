#!/usr/bin/env python3
"""LiveKit tokens for agents and load clients: the same as `trunkline tokens`, see `--help`.

`scripts/generate_tokens.py --init` puts random secrets into `.env`; it needs nothing but Python.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))


def main() -> None:
    os.chdir(ROOT)
    if sys.argv[1:] == ["--init"]:
        from trunkline.core.errors import TrunklineError
        from trunkline.stack import env_file

        try:
            names = env_file.init(Path(".env"), Path(".env.example"))
        except TrunklineError as error:
            sys.exit(f"generate_tokens: {error}")
        sys.stdout.write(env_file.report(Path(".env"), names) + "\n")
        return
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError:
        sys.exit("generate_tokens: the Python packages are missing; run: make setup, then .venv/bin/trunkline tokens")
    from trunkline.cli.main import main as trunkline

    sys.argv[1:1] = ["tokens"]
    trunkline()


if __name__ == "__main__":
    main()
