"""Importing retrieval costs nothing: FAISS comes with the first vector, pymilvus with the first address."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import retrieval.evaluation, retrieval.answers, retrieval.migration, retrieval.milvus.opening, retrieval.recognition
heavy = {'faiss', 'glsim_mm', 'mmcv', 'mmengine', 'mmpretrain', 'pymilvus', 'torch'} & set(sys.modules)
sys.exit(f'loaded: {sorted(heavy)}' if heavy else 0)
"""


def test_importing_retrieval_loads_nothing_heavy():
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, '-c', SCRIPT], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
