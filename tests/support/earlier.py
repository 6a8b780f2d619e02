"""What an earlier version wrote, as it is on a person's disk after an update: where it comes from is told in `earlier_files/README.md`."""

import json
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from typer.testing import CliRunner

from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.cli.app import app

FILES = Path(__file__).with_name("earlier_files")
NAME = "demo_tiny"
MODEL = ("--model", NAME, "--weights", "random", "--device", "cpu")
DATA = ("--data", "fashion-mnist", "--images", "16", "--batch-size", "4")
_PLACE = "FOLDER"  # stands in the SQL texts for the folder that everything is in


def earlier_model(num_classes: int = 10, img_size: int = 28) -> nn.Module:
    """The model that all of it is about, from its stored weights: as a builder of DEMO_BUILDERS, "random" weights are these."""
    model = VisionTransformer(
        img_size=img_size, patch_size=7, in_chans=1, num_classes=num_classes, embed_dim=8, depth=2, num_heads=2, mlp_ratio=2
    )
    model.load_state_dict(load_file(FILES / "tiny.safetensors"))
    return model.eval()


def copy_files(folder: Path) -> Path:
    """Copy everything into a folder that is not there yet, the SQL texts as the databases that they were; return the folder."""
    shutil.copytree(FILES, folder)
    for name in ("jobs", "drafts"):
        (folder / name).mkdir()
        text = (folder / f"{name}.sql").read_text().replace(_PLACE, str(folder))
        connection = sqlite3.connect(folder / name / f"{name}.sqlite")
        connection.executescript(text)
        connection.close()
    return folder


def toast(*words: object) -> dict:
    """Run a command in this process; the JSON document that it prints. Fails with the command's error."""
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


class Puts:
    """Counts what is put into evidence stores from now on, by kind and, of parts, by what they are parts of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        put = EvidenceStore.put

        def counted(store: EvidenceStore, identity: CellIdentity, *values: object) -> bool:
            part = identity.detail.get("part")
            self.counts[f"{identity.kind} {part}" if part else identity.kind] += 1
            return put(store, identity, *values)

        monkeypatch.setattr(EvidenceStore, "put", counted)
