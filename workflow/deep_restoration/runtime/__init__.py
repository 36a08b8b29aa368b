"""What every computation needs: devices, seeds, batches, trainings, checkpoints. No Snakemake.

Importing it before torch makes OpenMP wait passively, which beside busy neighbours is ten times faster
than the default spinning.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
