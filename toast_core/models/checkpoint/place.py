"""Where a checkpoint lies: a file, a folder with its config.json, or a model on the hub, of which the local cache is enough."""

from dataclasses import dataclass
from pathlib import Path

from toast_core.errors import ModelError
from toast_core.files import first_line
from toast_core.models.checkpoint.tensors import shards_of

HUB, FOLDER = ("hf-hub:", "hf_hub:"), "local-dir:"
# names under which libraries save a model, the likeliest first
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.pth",
    "model.pth",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)
CONFIGS = ("config.json", "open_clip_config.json", "preprocessor_config.json")
_ENDINGS = (".safetensors", ".pth", ".pth.tar", ".pt", ".bin", ".ckpt")


@dataclass(frozen=True)
class Found:
    """A weights file, the folder whose config.json speaks of it (None: none does), and a hub model's name with its revision."""

    file: Path
    folder: Path | None
    label: str = ""
    notes: tuple[str, ...] = ()


def is_place(word: str | Path | None) -> bool:
    """Whether a model name or a weights option names a place: hf-hub:OWNER/NAME or local-dir:FOLDER."""
    return str(word or "").startswith((*HUB, FOLDER))


def find(place: str | Path) -> Found:
    """Return where the weights lie that a file's path, a folder's, local-dir:FOLDER or hf-hub:OWNER/NAME[@REVISION] names.

    Raises:
        ModelError: there is nothing there, several files could be meant, or the hub's model is not in the cache and cannot be fetched.
    """
    text = str(place)
    if prefix := next((prefix for prefix in HUB if text.startswith(prefix)), None):
        return _from_hub(text.removeprefix(prefix))
    path = Path(text.removeprefix(FOLDER))
    if path.is_dir():
        return _in_folder(path)
    if text.startswith(FOLDER):
        raise ModelError(f"{path} is not a folder; local-dir: takes a folder with a config.json and weights")
    if not path.is_file():
        raise ModelError(f"weights file {path} does not exist; choose a file, a folder with a config.json, or hf-hub:OWNER/NAME")
    configs = [name for name in CONFIGS[:2] if path.with_name(name).is_file()]
    if not configs or path.name in WEIGHTS:
        return Found(path, path.parent if configs else None)
    return Found(path, None, notes=(f"{configs[0]} beside {path.name} was not read; to read it, name the folder {path.parent}",))


def _in_folder(folder: Path) -> Found:
    named = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if named is not None:
        return Found(named, folder)
    inside = sorted(folder.iterdir(), key=lambda path: path.name)
    files = [path for path in inside if path.is_file() and path.name.endswith(_ENDINGS)]
    if len(files) == 1:
        return Found(files[0], folder)
    if files:
        listed = ", ".join(path.name for path in files[:4])
        raise ModelError(f"folder {folder} holds {len(files)} weights files ({listed}); name the one that you mean")
    if any(path.suffix == ".distcp" for path in inside):
        raise ModelError(
            f"folder {folder} is a torch.distributed checkpoint; make one file of it with torch.distributed.checkpoint.format_utils"
        )
    if any(path.name == "saved_model.pb" for path in inside):
        raise ModelError(f"folder {folder} is a TensorFlow SavedModel; write its weights with safetensors in a program of its library")
    other = [path.name for path in inside if path.suffix in (".h5", ".msgpack", ".npz", ".onnx", ".gguf")]
    if other:
        raise ModelError(
            f"folder {folder} holds {other[0]} only, which is not read; read are .safetensors files and what torch.save writes"
        )
    held = ", ".join(path.name for path in inside[:4]) or "nothing"
    raise ModelError(f"folder {folder} holds no weights file (it holds {held}); name a file or a folder with model.safetensors")


def _from_hub(name: str) -> Found:
    """Fetch config and weights, or find them in the cache; what cannot be had is said."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    from toast_core.models.hub import prefer_cache

    prefer_cache()
    owner, _, revision = name.partition("@")

    def fetch(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(owner, file, revision=revision or None))
        except (LocalEntryNotFoundError, EntryNotFoundError):
            return None
        except RepositoryNotFoundError as error:
            raise ModelError(
                f"the hub has no model {owner}, or it is not open to you; check its name, or log in with hf auth login"
            ) from error
        except (HFValidationError, HfHubHTTPError, OSError, ValueError) as error:
            raise ModelError(
                f"{owner}: {file} cannot be fetched from the hub ({first_line(error, 100)}); check the name and the network"
            ) from error

    configs = [found for file in CONFIGS if (found := fetch(file))]
    weights = next((found for file in WEIGHTS if (found := fetch(file))), None)
    if weights is None:
        have = f"only {', '.join(path.name for path in configs)}" if configs else "nothing of it"
        raise ModelError(
            f"the weights of hf-hub:{owner} are not in the local cache ({have}) and cannot be fetched; "
            f"fetch them where there is a network (hf download {owner}), or pass --weights FILE"
        )
    for shard in shards_of(weights) if weights.suffix == ".json" else ():
        if fetch(shard.name) is None:
            raise ModelError(
                f"{shard.name} of hf-hub:{owner} is not in the local cache and cannot be fetched; hf download {owner} fetches all"
            )
    commit = next((part for part in weights.parent.parts[::-1] if len(part) == 40), "")
    folder = configs[0].parent if configs else None
    return Found(weights, folder, f"hf-hub:{owner}{f'@{commit[:12]}' if commit else ''}")
