"""Made-up rows for figures: every number can be found again in what is drawn."""

from toast_core.studies.redundancy.result import RedundancyRow


def redundancy_row(block: int, site: str = "hidden", held_out: float = 0.5) -> RedundancyRow:
    """A row of four channels, one of them dead at 1e-2."""
    r2 = {"0.25": {"in_sample": 0.9, "held_out": 0.8}, "0.5": {"in_sample": 0.75, "held_out": held_out}}
    rank = {
        "singular_values": {"absolute": 2.0 + block / 10, "relative": 0.5 + block / 40},
        "covariance_eigenvalues": {"absolute": 1.0, "relative": 0.25},
    }
    return RedundancyRow(
        block=block, site=site, images=10, tokens=170, rms=2.0, tau=0.0199,
        sparsity={"0.01rms": 0.1 + block / 100, "1e-2": 0.05, "1e-3": 0.01}, dead={"0.01rms": 0.25, "1e-2": 0.25, "1e-3": 0.0},
        sparsity_curve=((0.01, 0.0199, 0.1), (0.1, 0.199, 0.3), (1.0, 1.99, 0.7)),
        effective_rank=rank, r2=r2, spectrum=(6.0, 3.0, 1.0, 0.0), importance=(0.1, 0.2, 0.3, 0.4),
        channel_mean_abs=(0.005, 0.15, 0.5, 1.0),
        convergence={
            "images": 5, "tokens": 85, "sparsity": {"0.01rms": 0.12}, "dead": {"0.01rms": 0.25}, "effective_rank": rank, "r2": r2,
        },
    )


def sensitivity_row(block: int, ratio: float, delta: float, half: float = 1.0, site: str = "fc2") -> dict:
    """A row with a symmetric interval."""
    return {
        "block": block, "site": site, "ratio": ratio, "top1": 90 + delta, "top1_delta": delta, "ci95": [delta - half, delta + half],
        "kl": abs(delta) / 10, "images": 500,
    }


SENSITIVITY = [
    sensitivity_row(0, 0.1, -0.3), sensitivity_row(0, 0.5, -12.34, 2.0), sensitivity_row(0, 0.9, -60.0),
    sensitivity_row(1, 0.1, 0.62, 0.4), sensitivity_row(1, 0.9, -30.0), sensitivity_row(1, 0.5, -5.0, site="qk"),
]


def epoch(number: int, loss: float, top1: float | None = 80.0) -> dict:
    """A row of a recovery."""
    return {
        "epoch": number, "images": 100 * number, "training_loss": loss + 0.1 if number else None, "validation_loss": loss,
        "validation_top1": top1, "validation_agreement": 90.0, "validation_images": 50,
    }


EPOCHS = [epoch(0, 0.9, 60.0), epoch(1, 0.4), epoch(2, 0.4, 82.0), epoch(3, 0.5)]
