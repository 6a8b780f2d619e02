"""A line and examples for every command. A test reads each example with the command line's own parser, so that none can rot."""

from dataclasses import dataclass

_LOOK, _MEASURE, _PRUNE, _DELIVER, _OTHER = "Open the dashboard", "Measure", "Prune and tune", "Deliver", "This machine"


@dataclass(frozen=True)
class Said:
    """What is said of a command.

    panel     the heading that it stands under
    line      what it does, in one line of a table of 80 columns
    examples  what may stand behind its name; an empty text is the name alone
    group     the words before its name, besides toast
    """

    panel: str
    line: str
    examples: tuple[str, ...]
    group: str = ""

    def lines(self, name: str) -> tuple[str, ...]:
        """The examples as lines of a shell."""
        return tuple(" ".join(f"toast {self.group} {name} {words}".split()) for words in self.examples)


COMMANDS = {
    "demo": Said(_LOOK, "open it on the embedded model and images", ("", "--port 8600 --headless")),
    "dashboard": Said(_LOOK, "open it on any supported model and images", (
        "--weights best.pth --data photos/val --calibration photos/train",
        "--model deit_small_patch16_224 --data imagenet/val --calibration imagenet/train",
    )),
    "flops": Said(_MEASURE, "MACs, parameters and memory, from shapes alone", (
        "--model deit_small_patch16_224", "--model demo_vit --schedule tuned.json",
    )),
    "evaluate": Said(_MEASURE, "accuracy and loss, with 95 % intervals", (
        "--model demo_vit --data fashion-mnist", "--weights pruned.safetensors --data photos/val",
        "--model demo_vit --data fashion-mnist --schedule tuned.json --calibration fashion-mnist:calibration",
    )),
    "analyze": Said(_MEASURE, "where a model can be pruned, and what it costs", (
        "--model demo_vit --data fashion-mnist --images 256 --metrics sensitivity",
        "--model demo_vit --data fashion-mnist:calibration --metrics sketch",
    )),
    "bench": Said(_MEASURE, "latency on this machine, baseline against compact", (
        "--model demo_vit --schedule tuned.json", "--model deit_small_patch16_224 --weights random --table",
    )),
    "presets": Said(_PRUNE, "list the published schedules", ("", "deit_tiny_patch16_224@0.9")),
    "tune": Said(_PRUNE, "the schedule of least damage within a budget", (
        "--model demo_vit --calibration fashion-mnist:calibration --reduction 0.4 -o tuned.json",
        "--weights best.pth --calibration photos/train --max-drop 1 -o tuned.json",
    )),
    "apply": Said(_PRUNE, "write the pruned model into one file", (
        "--model demo_vit --schedule tuned.json --calibration fashion-mnist:calibration -o pruned.safetensors",
        "--model deit_tiny_patch16_224 --preset deit_tiny_patch16_224@0.9 -o pruned.safetensors",
    )),
    "recover": Said(_PRUNE, "fine-tune a pruned model toward its baseline", (
        "--weights best.pth --schedule tuned.json --calibration photos/train --train photos/train -o recovered.safetensors",
        "--model demo_vit --schedule tuned.json --train my/train --epochs 20 --checkpoint run1 -o recovered.safetensors",
    )),
    "export": Said(_DELIVER, "the compact model as ONNX, .pt2, safetensors or Python", (
        "--weights pruned.safetensors --format onnx -o pruned.onnx",
        "--model demo_vit --schedule tuned.json --calibration fashion-mnist:calibration --format torch_export -o pruned.pt2",
    )),
    "certify": Said(_DELIVER, "every form measured side by side, sealed in a file", (
        "--model demo_vit --schedule tuned.json --calibration fashion-mnist:calibration --data fashion-mnist -o certificate.json",
        "--weights pruned.safetensors --calibration photos/train --data photos/val -o certificate.json", "--check certificate.json",
    )),
    "report": Said(_DELIVER, "stored analyses as a page for people", ("1b6cf8d9 -o report.pdf", "1b6cf8d9 5d50b936 -o figures")),
    "cache": Said(_OTHER, "list, check, share and tidy what was measured", ()),
    "doctor": Said(_OTHER, "what this machine has, and what is missing", ("", "--json")),
    "completion": Said(_OTHER, "completion for bash, zsh or fish", ("bash", "zsh", "fish")),
    "test": Said(_OTHER, "run the project's tests, from a checkout", ("",)),
}
"""By name, in the order in which they are listed."""

_KEPT, _SHARED = "What is kept", "Share and tidy"
CACHE = {
    name: Said(panel, line, examples, "cache") for name, (panel, line, examples) in {
        "ls": (_KEPT, "list the analyses", ("", "--store shared.sqlite")),
        "show": (_KEPT, "one analysis with its figures", ("1b6cf8d9", "1b6cf8d9 --json")),
        "verify": (_KEPT, "recompute every key and checksum", ("", "--remove")),
        "fits": (_KEPT, "remembered fits of compensation", ("", "--remove")),
        "export": (_SHARED, "write analyses as one file", ("1b6cf8d9 -o mine.toastbundle", "--all -o everything.toastbundle")),
        "import": (_SHARED, "take over a file that export wrote", ("mine.toastbundle",)),
        "merge": (_SHARED, "take over what another store has", ("other.sqlite",)),
        "prune": (_SHARED, "remove what no analysis lists", ("--dry-run", "--older-than 30")),
    }.items()
}
"""Those of `toast cache`."""
