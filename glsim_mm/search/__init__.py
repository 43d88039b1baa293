"""From photos to embeddings, galleries and results: image search with GLSim's models, on top of :mod:`retrieval`.

Names are imported when they are first used: looking into a gallery needs no model, and an exported model no torch.
"""

from importlib import import_module
from typing import Any

_EXPORTS = {
    'BaseEncoder': '.base_encoder',
    'DetectedObjects': '.detection',
    'Detector': '.detection',
    'Encoded': '.encoded',
    'Encoder': '.encoder',
    'EncodingError': '.encoded',
    'EncodingReport': '.encoded',
    'ExportedEncoder': '.exported_encoder',
    'FolderSearch': '.folder_search',
    'FoundObject': '.object_search',
    'FrozenEncoder': '.pretrained_encoder',
    'FrozenSettings': '.pretrained_settings',
    'Identification': '.remote_search',
    'ImageItem': '..images.photos',
    'ImageSearch': '.image_search',
    'MAX_PIXELS': '..images.photos',
    'MMDetDetector': '.detection',
    'ObjectSearch': '.object_search',
    'PhotoObjects': '.object_search',
    'RemoteSearch': '.remote_search',
    'SyncReport': '.sync_report',
    'add_images': '.adding',
    'build_gallery': '.building',
    'crop_areas': '.detection',
    'encoder_for': '.adding',
    'find_items': '.items',
    'frozen_encoder': '.pretrained_encoder',
    'frozen_settings': '.pretrained_encoder',
    'format_report': '.encoded',
    'format_sync': '.sync_report',
    'open_folder': '.folder_search',
    'sync_gallery': '.syncing',
    'sync_images': '.syncing',
    'to_data_samples': '.object_search',
    'watch_folders': '.watching',
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_EXPORTS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
