"""An exported model classifies, searches and fills galleries without torch and OpenMMLab."""

import subprocess
import sys

from tiny_run import ROOT

PROGRAM = """
import sys
from pathlib import Path
from glsim_mm.exported import ExportedInferencer
from glsim_mm.search import ExportedEncoder, ImageSearch, add_images
from retrieval.answers import format_table, results_to_json
from retrieval.gallery import create_gallery

model, photos, folder = sys.argv[1:]
results = ExportedInferencer(model, device='cpu')(photos, batch_size=8)
encoder = ExportedEncoder(model, device='cpu')
with create_gallery(f'{folder}/gallery', encoder.dimensions, fingerprint=encoder.fingerprint) as gallery:
    report = add_images(gallery, encoder, photos, num_workers=2, batch_size=3, progress=False)
with ImageSearch.open(f'{folder}/gallery', with_model=False) as search:
    similar = search.similar([0], 2)
    format_table(similar), results_to_json(similar)
with ImageSearch.open(f'{folder}/gallery', checkpoint=model, device='cpu') as search:
    found = search(results[3]['path'], 2)
    for name in ('results.html', 'results.json', 'results.png'):
        search.write_results(found, f'{folder}/{name}', root=photos, heatmaps=True)
heavy = sorted({name.partition('.')[0] for name in sys.modules} & {'mmcv', 'mmengine', 'mmpretrain', 'timm', 'torch'})
print(len(results), report.size, len(similar[0].hits), round(found[0].hits[0].score, 3), heavy)
"""


def test_no_torch_and_no_openmmlab(made, tmp_path):
    _, _, images, path = made
    command = [sys.executable, '-c', PROGRAM, path, images, tmp_path]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '8 8 2 1.0 []'
    assert all((tmp_path / name).stat().st_size > 1000 for name in ('results.html', 'results.png'))
