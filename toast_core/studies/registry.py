"""The kinds of runs, ours and others', each loaded when it is first asked for. Imports no torch.

A kind is an entry point of the group `toast_studio.studies`: a name, and the class of its run (`toast_core.studies.base.Run`). Ours are
written down here, so that a checkout needs no installation; another package adds one in its own pyproject.toml, and nothing else:

    [project.entry-points."toast_studio.studies"]
    my_kind = "my_package.job:MyRun"
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass

from toast_core.errors import JobError
from toast_core.registry import Registry
from toast_core.schedule.schedule import Schedule
from toast_core.studies.base import Run

KINDS: Registry[type[Run]] = Registry(
    "toast_studio.studies",
    "kind of run",
    {
        "sensitivity": "toast_core.studies.sensitivity.job:SensitivityRun",
        "redundancy": "toast_core.studies.redundancy.job:RedundancyRun",
        "evaluation": "toast_core.studies.evaluation.job:EvaluationRun",
        "composition": "toast_core.studies.composition.job:CompositionRun",
        "sketch": "toast_core.studies.sketch.job:SketchRun",
        "apply": "toast_core.studies.agreement.job:ApplyRun",
        "tuning": "toast_core.studies.tuning.job:TuningRun",
        "recovery": "toast_core.studies.recovery.job:RecoveryRun",
        "export": "toast_core.studies.delivery.job:ExportRun",
        "certificate": "toast_core.studies.certificate.job:CertificateRun",
    },
    JobError,
)


def run_class(kind: object) -> type[Run]:
    """The class of a kind of run; torch is loaded with it.

    Raises:
        JobError: an unknown kind, one that two packages offer, or one whose package cannot be loaded or says that it is another.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise JobError(f"unknown kind of run {kind!r:.80}; choose from {', '.join(KINDS)}")
    found = KINDS[kind]
    said = getattr(found, "kind", None)
    if said != kind:
        (source,) = KINDS.sources(kind)
        raise JobError(f"{source} is of kind {said!r}, not {kind!r} as its entry point says; repair or uninstall {source.package}")
    return found


def read_run(values: object) -> Run:
    """Read `run_to_dict`'s values; fields that are left out take their defaults.

    Raises:
        JobError: not an object, an unknown kind or field, or a value out of range; ToastErrors of schedules and sites alike.
    """
    if not isinstance(values, Mapping):
        raise JobError(f"a run is a JSON object, not {type(values).__name__}; send its kind and fields")
    kind = values.get("kind")
    made = run_class(kind)
    given, known = {name: value for name, value in values.items() if name != "kind"}, fields(made)
    if unknown := sorted(set(given) - {field.name for field in known}):
        raise JobError(f"unknown field {unknown[0]!r:.80} of a run of kind {kind}; choose from {', '.join(field.name for field in known)}")
    if lacking := [field.name for field in known if field.default is MISSING and field.name not in given]:
        raise JobError(f"a run of kind {kind} needs a {lacking[0]}; send it")
    return made(**given)


def run_to_dict(run: Run) -> dict:
    """Plain JSON values, every field written out: equal runs give equal values."""
    return {"kind": run.kind, **{field.name: _plain(getattr(run, field.name)) for field in fields(run)}}


def _plain(value: object) -> object:
    """A field as JSON: a schedule and any other frozen value as an object, a tuple as a list."""
    if isinstance(value, Schedule):
        return value.to_dict()
    if is_dataclass(value):
        return dict(vars(value))
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
