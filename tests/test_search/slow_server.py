"""``python slow_server.py FOLDER``: a real server over ``FOLDER/gallery`` that writes after a few photos, slowly."""

import sys
import time
from pathlib import Path

from mean_encoder import MeanEncoder

from glsim_mm.search import ImageSearch
from glsim_mm.search.server import kinds_writing
from glsim_mm.search.server.app import create_app
from glsim_mm.search.server.galleries import ServedGallery
from glsim_mm.search.server.running import listen, serve
from glsim_mm.search.server.settings import Settings
from retrieval.gallery import open_gallery


class SlowEncoder(MeanEncoder):
    def forward(self, inputs):
        time.sleep(0.05)
        return super().forward(inputs)


if __name__ == '__main__':
    kinds_writing._SECONDS_BETWEEN_COMMITS = 0.0
    folder, settings = Path(sys.argv[1]), Settings(port=0, writable=True)
    galleries = [ServedGallery('birds', ImageSearch(open_gallery(folder / 'gallery'), SlowEncoder()))]
    with listen(settings) as listening:
        app = create_app(galleries, settings, folder / 'cache', folder / 'state')
        serve(app, listening, settings, False, lambda address: print(address, flush=True))
