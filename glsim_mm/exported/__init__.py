"""Running models that ``glsim export`` wrote; needs neither mmpretrain, mmengine nor torch."""

from .onnx_inferencer import ExportedInferencer, ExportedPipeline
from .onnx_model import ExportedInfo, ExportedModel
from .remote_model import RemoteModel

__all__ = ['ExportedInferencer', 'ExportedInfo', 'ExportedModel', 'ExportedPipeline', 'RemoteModel']
