"""The rows of the benchmark, by subject."""

from bench.rows.drop_in import DROP_IN
from bench.rows.networks import NETWORKS

WORKS = (*NETWORKS, *DROP_IN)
