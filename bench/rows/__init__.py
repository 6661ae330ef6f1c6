"""The rows of the benchmark, by subject."""

from bench.rows.drop_in import DROP_IN
from bench.rows.networks import NETWORKS
from bench.rows.word2vec import WORD2VEC

WORKS = (*NETWORKS, *DROP_IN, *WORD2VEC)
