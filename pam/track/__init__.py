"""The MLflow mirror of the ledger: a parent run per variant, a child per cell. `runs` and `reader` alone import mlflow.

The ledger is the truth; what MLflow could not be told is told again, later in the same sweep, by the next one, or by
`python -m pam.track sync`, which can also fill an empty server.
"""

from pam.track.mirror import Mirror
from pam.track.shown import summarise
from pam.track.where import tracking_uri, ui_hint

__all__ = ["Mirror", "summarise", "tracking_uri", "ui_hint"]
